package controlplane_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	chartFolder = "../../deploy/helm/caddy-tigergraph"
	baseFolder  = "../../deploy/kubernetes"
	name        = "caddy-tigergraph"
	repository  = "ghcr.io/caddy-tigergraph/caddy-tigergraph:"
)

// overlay builds the base with an overlay like the guide's.
func overlay(t *testing.T, namespace, more string) (objects []*unstructured.Unstructured) {
	t.Helper()
	fileSystem := filesys.MakeFsInMemory()
	files, err := filepath.Glob(baseFolder + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // a folder
		}
		if err := fileSystem.WriteFile("/base/"+filepath.Base(file), content); err != nil {
			t.Fatal(err)
		}
	}
	kustomization := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: " + namespace + "\nresources: [../base]\n" + more
	if err := fileSystem.WriteFile("/overlay/kustomization.yaml", []byte(kustomization)); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fileSystem, "/overlay")
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources.Resources() {
		content, err := resource.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		object := new(unstructured.Unstructured)
		if err := object.UnmarshalJSON(content); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}

// apply has the API server take objects as `kubectl apply --server-side` does, which
// refuses fields that it does not know.
func (c *controlPlane) apply(t *testing.T, namespace string, objects []*unstructured.Unstructured) error {
	t.Helper()
	client, err := dynamic.NewForConfig(c.config)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Discovery()))
	for _, object := range objects {
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			return err
		}
		manifest, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resource(mapping.Resource).Namespace(namespace).Patch(t.Context(), object.GetName(), types.ApplyPatchType, manifest,
			metav1.PatchOptions{FieldManager: "kubectl", FieldValidation: metav1.FieldValidationStrict})
		if err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, object.GetName(), err)
		}
	}
	return nil
}

func (c *controlPlane) mustApply(t *testing.T, namespace string, objects []*unstructured.Unstructured) {
	t.Helper()
	if err := c.apply(t, namespace, objects); err != nil {
		t.Fatal(err)
	}
	c.mustNotWarn(t)
}

func (c *controlPlane) mustNotWarn(t *testing.T) {
	t.Helper()
	if all := c.warnings.taken(); len(all) > 0 {
		t.Errorf("the API server warns: %q", all)
	}
}

// images returns those of the pods that are there to stay, by how many have them.
func (c *controlPlane) images(t *testing.T, namespace string) map[string]int {
	t.Helper()
	pods, err := c.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=edge"})
	if err != nil {
		t.Fatal(err)
	}
	images := make(map[string]int)
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			images[pod.Spec.Containers[0].Image]++
		}
	}
	return images
}

// rolledOut waits until all edges are of an image, and says what hinders them.
func (c *controlPlane) rolledOut(t *testing.T, namespace, image string, edges int) {
	t.Helper()
	done := func() bool {
		deployment, err := c.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		status := deployment.Status
		return status.ObservedGeneration == deployment.Generation && int(status.UpdatedReplicas) == edges && int(status.AvailableReplicas) == edges &&
			int(status.Replicas) == edges && maps.Equal(c.images(t, namespace), map[string]int{image: edges})
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		events, _ := c.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{})
		for _, event := range events.Items {
			t.Logf("%s %s: %s %s", event.InvolvedObject.Kind, event.InvolvedObject.Name, event.Reason, event.Message)
		}
	})
	eventually(t, fmt.Sprintf("%d edges of the image %s, of %v", edges, image, c.images(t, namespace)), done)
}

// A control plane takes the manifests, the chart, an upgrade and the way back, where
// pods have to be restricted.
func TestAControlPlaneAdmitsTheEdge(t *testing.T) {
	c := startControlPlane(t)
	t.Run("the manifests", c.testManifests)
	t.Run("the chart", c.testChart)
	t.Run("what must be refused", c.testRefusals)
	t.Run("nodes that are not ready are found", c.testNodesThatAreNotReady)
}

// Who asks for the test is told that it cannot be done.
func TestWithoutEtcdTheControlPlaneFails(t *testing.T) {
	again := exec.Command(os.Args[0], "-test.run=^TestAControlPlaneAdmitsTheEdge$", "-test.v")
	again.Env = append(os.Environ(), "CONTROL_PLANE=1", "PATH="+t.TempDir())
	if said, err := again.CombinedOutput(); err == nil || !strings.Contains(string(said), "there is no etcd") {
		t.Errorf("without etcd the test ends with %v\n%s", err, said)
	}
}

func (c *controlPlane) testManifests(t *testing.T) {
	const namespace = "manifests"
	c.namespace(t, namespace)
	machine := c.startKubelet(t, namespace)
	first := overlay(t, namespace, "")
	c.mustApply(t, namespace, first)
	deployment, err := c.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := deployment.Spec.Template.Spec.Containers[0].Image
	c.rolledOut(t, namespace, before, 2)

	c.mustApply(t, namespace, overlay(t, namespace, `images:
  - name: ghcr.io/caddy-tigergraph/caddy-tigergraph
    newTag: 99.0.0
configMapGenerator:
  - name: caddy-tigergraph-environment
    behavior: merge
    literals: [SITE=graph.example.net]
`))
	c.rolledOut(t, namespace, repository+"99.0.0", 2)
	c.mustApply(t, namespace, first)
	c.rolledOut(t, namespace, before, 2)
	if least := machine.leastReady(); least < 2 {
		t.Errorf("in between %d edges were there", least)
	}

	// Who empties machines takes one edge at a time.
	budget := func() int32 {
		budget, err := c.PolicyV1().PodDisruptionBudgets(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if budget.Status.ObservedGeneration != budget.Generation || budget.Status.ExpectedPods != 2 || budget.Status.CurrentHealthy != 2 {
			return -1
		}
		return budget.Status.DisruptionsAllowed
	}
	eventually(t, "one edge may go", func() bool { return budget() == 1 })
}

// helm is Helm's configuration for a namespace.
func (c *controlPlane) helm(t *testing.T, namespace string) *action.Configuration {
	t.Helper()
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace = &c.kubeconfig, new(namespace)
	flags.WrapConfigFn = func(config *rest.Config) *rest.Config {
		config.WarningHandler = c.warnings
		return config
	}
	configuration := new(action.Configuration)
	if err := configuration.Init(flags, namespace, "secret", t.Logf); err != nil {
		t.Fatal(err)
	}
	return configuration
}

func (c *controlPlane) testChart(t *testing.T) {
	const namespace = "chart"
	c.namespace(t, namespace)
	machine := c.startKubelet(t, namespace)
	chart, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	before := repository + chart.Metadata.AppVersion

	install := action.NewInstall(c.helm(t, namespace))
	install.ReleaseName, install.Namespace, install.Wait, install.Timeout = name, namespace, true, enough
	if _, err := install.Run(chart, nil); err != nil {
		t.Fatal(err)
	}
	c.rolledOut(t, namespace, before, 2)

	values, err := chartutil.ReadValues([]byte("image: {tag: 99.0.0}\nreplicas: 3\ntigergraph: {nodes: [m1.example.net, m2.example.net]}\nsiteDirectives: respond /edge 200\n"))
	if err != nil {
		t.Fatal(err)
	}
	upgrade := action.NewUpgrade(c.helm(t, namespace))
	upgrade.Namespace, upgrade.Wait, upgrade.Timeout = namespace, true, enough
	if _, err := upgrade.Run(name, chart, values); err != nil {
		t.Fatal(err)
	}
	c.rolledOut(t, namespace, repository+"99.0.0", 3)
	// The nodes have names now, and their service is gone.
	if _, err := c.CoreV1().Services(namespace).Get(t.Context(), name+"-nodes", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the service of the nodes is left: %v", err)
	}

	rollback := action.NewRollback(c.helm(t, namespace))
	rollback.Version, rollback.Wait, rollback.Timeout = 1, true, enough
	if err := rollback.Run(name); err != nil {
		t.Fatal(err)
	}
	c.rolledOut(t, namespace, before, 2)
	if _, err := c.CoreV1().Services(namespace).Get(t.Context(), name+"-nodes", metav1.GetOptions{}); err != nil {
		t.Errorf("the service of the nodes did not come back: %v", err)
	}
	if least := machine.leastReady(); least < 2 {
		t.Errorf("in between %d edges were there", least)
	}
	c.mustNotWarn(t)

	uninstall := action.NewUninstall(c.helm(t, namespace))
	uninstall.Wait, uninstall.Timeout = true, enough
	if _, err := uninstall.Run(name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no edge is left", func() bool { return len(c.images(t, namespace)) == 0 })
}

// What proves that being admitted means something here.
func (c *controlPlane) testRefusals(t *testing.T) {
	const namespace = "refusals"
	c.namespace(t, namespace)
	change := func(change func(container map[string]any)) []*unstructured.Unstructured {
		objects := overlay(t, namespace, "")
		at := slices.IndexFunc(objects, func(object *unstructured.Unstructured) bool { return object.GetKind() == "Deployment" })
		containers, _, err := unstructured.NestedSlice(objects[at].Object, "spec", "template", "spec", "containers")
		if err != nil {
			t.Fatal(err)
		}
		change(containers[0].(map[string]any))
		if err := unstructured.SetNestedSlice(objects[at].Object, containers, "spec", "template", "spec", "containers"); err != nil {
			t.Fatal(err)
		}
		return objects
	}
	if err := c.apply(t, namespace, change(func(container map[string]any) { container["imagePullPolice"] = "Always" })); err == nil || !strings.Contains(err.Error(), "imagePullPolice") {
		t.Errorf("an unknown field is answered with %v", err)
	}
	c.warnings.taken()

	privileged := change(func(container map[string]any) { container["securityContext"] = map[string]any{"privileged": true} })
	if err := c.apply(t, namespace, privileged); err != nil {
		t.Fatal(err)
	}
	if all := c.warnings.taken(); !strings.Contains(strings.Join(all, "\n"), "privileged") {
		t.Errorf("an edge that is privileged is warned of with %q", all)
	}
	eventually(t, "the ReplicaSet says that its pods are forbidden", func() bool {
		events, err := c.CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=ReplicaSet"})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(events.Items, func(event corev1.Event) bool {
			return event.Reason == "FailedCreate" && strings.Contains(event.Message, "violates PodSecurity") && strings.Contains(event.Message, "privileged")
		})
	})
	if images := c.images(t, namespace); len(images) > 0 {
		t.Errorf("there are pods of %v", images)
	}
}

// A node whose engine warms up still holds sessions, so that DNS must answer with it.
func (c *controlPlane) testNodesThatAreNotReady(t *testing.T) {
	const namespace, address = "nodes", "192.0.2.7"
	c.namespace(t, namespace)
	c.mustApply(t, namespace, overlay(t, namespace, ""))
	restricted := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod, err := c.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "tigergraph-0", Labels: map[string]string{"tigergraph.com/cluster-pod": "tigergraph"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "tigergraph", Image: "tigergraph", SecurityContext: restricted}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	if _, err := c.CoreV1().Pods(namespace).UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service of the nodes has the node that is not ready", func() bool {
		slicesOf, err := c.DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + name + "-nodes"})
		if err != nil {
			t.Fatal(err)
		}
		for _, slice := range slicesOf.Items {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Addresses[0] == address && ptr.Deref(endpoint.Conditions.Ready, false) && *slice.Ports[0].Port == 14240 {
					return true
				}
			}
		}
		return false
	})
}
