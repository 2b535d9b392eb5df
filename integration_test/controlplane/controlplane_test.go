// Package controlplane_test has a real control plane of Kubernetes admit what deploy/
// holds for it: etcd, the API server and the controllers, without machines.
package controlplane_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// enough is how long anything may take, on a machine that is busy.
const enough = 3 * time.Minute

// controlPlane is a cluster without machines: see kubelet.
type controlPlane struct {
	*kubernetes.Clientset
	kubeconfig string // a file
	config     *rest.Config
	warnings   *warnings
}

// warnings are what the API server has answered beside its answers.
type warnings struct {
	mutex sync.Mutex
	all   []string
}

func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.all = append(w.all, text)
}

// taken returns the warnings since it was last called.
func (w *warnings) taken() (all []string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	all, w.all = w.all, nil
	return all
}

// output is what a process has said, which several goroutines write and read.
type output struct {
	mutex   sync.Mutex
	content bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.content.Write(p)
}

// end returns the last of it.
func (o *output) end() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	text := o.content.String()
	return text[max(0, len(text)-4000):]
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(enough); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func write(t *testing.T, folder, name, content string) (file string) {
	t.Helper()
	file = filepath.Join(folder, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keys makes a key and a certificate for the loopback that is its own authority.
func keys(t *testing.T, folder string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "control plane"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate = write(t, folder, "certificate.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	key = write(t, folder, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: bare})))
	return certificate, key
}

// start runs a program until the test ends.
func start(t *testing.T, program string, arguments ...string) {
	t.Helper()
	said := new(output)
	command := exec.Command(program, arguments...)
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said\n%s", filepath.Base(program), said.end())
		}
	})
}

// built builds a part of Kubernetes, of the version that go.mod requires, which says so of
// itself. In the folder KUBERNETES_BUILDS, if that is set, one that was built before serves
// again.
func built(t *testing.T, folder, name string) (program string) {
	t.Helper()
	list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes")
	list.Env = append(os.Environ(), "GOWORK=off")
	said, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(said))
	numbers := strings.Split(strings.TrimPrefix(version, "v"), ".")
	const variable = "-X k8s.io/component-base/version."
	program = filepath.Join(folder, name)
	if kept := os.Getenv("KUBERNETES_BUILDS"); kept != "" {
		program = filepath.Join(kept, name+"-"+version)
		if _, err := os.Stat(program); err == nil {
			return program
		}
	}
	build := exec.Command("go", "build", "-o", program,
		"-ldflags", "-s -w "+variable+"gitVersion="+version+" "+variable+"gitMajor="+numbers[0]+" "+variable+"gitMinor="+numbers[1], "k8s.io/kubernetes/cmd/"+name)
	build.Env = append(os.Environ(), "GOWORK=off")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, said)
	}
	return program
}

// startControlPlane starts a cluster on the loopback.
func startControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	if os.Getenv("CONTROL_PLANE") == "" {
		t.Skip("building Kubernetes' API server and its controllers takes minutes: set CONTROL_PLANE=1 to do it")
	}
	etcd, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatal("there is no etcd (Debian's package etcd-server)")
	}
	folder := t.TempDir()
	apiServer, controllers := built(t, folder, "kube-apiserver"), built(t, folder, "kube-controller-manager")
	certificate, key := keys(t, folder)
	store, peer, api := "http://127.0.0.1:"+freePort(t), "http://127.0.0.1:"+freePort(t), freePort(t)
	start(t, etcd, "--data-dir", filepath.Join(folder, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer)

	const operator, controller = "the-operators-token", "the-controllers-token"
	tokens := write(t, folder, "tokens.csv", operator+",operator,1,system:masters\n"+controller+",system:kube-controller-manager,2\n")
	start(t, apiServer, "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", api, "--advertise-address", "127.0.0.1",
		"--endpoint-reconciler-type", "none", "--cert-dir", folder, "--tls-cert-file", certificate, "--tls-private-key-file", key,
		"--token-auth-file", tokens, "--authorization-mode", "RBAC", "--allow-privileged", "--service-cluster-ip-range", "10.96.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key, "--service-account-signing-key-file", key)

	kubeconfig := func(name, token string) string {
		return write(t, folder, name, fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "https://127.0.0.1:%s", certificate-authority: %s}}]
users: [{name: me, user: {token: %s}}]
contexts: [{name: here, context: {cluster: here, user: me}}]
current-context: here
`, api, certificate, token))
	}
	c := &controlPlane{kubeconfig: kubeconfig("operator.yaml", operator), warnings: new(warnings)}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.config.WarningHandler, c.config.QPS = c.warnings, -1
	if c.Clientset, err = kubernetes.NewForConfig(c.config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server is ready", func() bool {
		_, err := c.RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		return err == nil
	})
	start(t, controllers, "--kubeconfig", kubeconfig("controllers.yaml", controller), "--bind-address", "127.0.0.1", "--secure-port", "0",
		"--leader-elect=false", "--use-service-account-credentials", "--service-account-private-key-file", key, "--root-ca-file", certificate)
	return c
}

// namespace makes one in which only pods run that are restricted, and where whoever
// applies others is warned.
func (c *controlPlane) namespace(t *testing.T, name string) {
	t.Helper()
	_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted",
		"pod-security.kubernetes.io/warn":    "restricted",
	}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace has an account for pods", func() bool {
		_, err := c.CoreV1().ServiceAccounts(name).Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})
}

// kubelet does for the pods of a namespace what machines would: they run, and are ready
// at once. To Services of the type LoadBalancer it gives addresses, as a cloud would. It
// keeps the least number of ready pods since there were two.
type kubelet struct {
	cluster   *controlPlane
	namespace string
	mutex     sync.Mutex
	least     int
	failure   error
}

func (c *controlPlane) startKubelet(t *testing.T, namespace string) *kubelet {
	t.Helper()
	k := &kubelet{cluster: c, namespace: namespace}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			if err := k.step(ctx); err != nil && ctx.Err() == nil {
				k.mutex.Lock()
				k.failure = err
				k.mutex.Unlock()
			}
			<-ticker.C
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() && k.failure != nil {
			t.Logf("the machine's part in %s: %v", namespace, k.failure)
		}
	})
	return k
}

func (k *kubelet) step(ctx context.Context) error {
	pods, err := k.cluster.CoreV1().Pods(k.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	ready := 0
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp != nil {
			continue
		}
		ready++
		if isReady(pod) {
			continue
		}
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
		if _, err := k.cluster.CoreV1().Pods(k.namespace).UpdateStatus(ctx, &pod, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	k.mutex.Lock()
	if k.least == 0 && ready >= 2 || ready < k.least {
		k.least = ready
	}
	k.mutex.Unlock()
	services, err := k.cluster.CoreV1().Services(k.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, service := range services.Items {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer || len(service.Status.LoadBalancer.Ingress) > 0 {
			continue
		}
		service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		if _, err := k.cluster.CoreV1().Services(k.namespace).UpdateStatus(ctx, &service, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// leastReady is how few pods were ready at any time since two were.
func (k *kubelet) leastReady() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.least
}

func isReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
}
