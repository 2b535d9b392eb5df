// Package kubernetes_test holds the manifests of deploy/kubernetes against the
// types of Kubernetes' own API.
package kubernetes_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const folder = "../../deploy/kubernetes"

// decode decodes a manifest, and refuses fields that the API does not know.
func decode(t *testing.T, manifest []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	object, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode(manifest, nil, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, manifest)
	}
	return object
}

// build renders the base as `kubectl apply -k` does.
func build(t *testing.T, fileSystem filesys.FileSystem, path string) (objects []runtime.Object) {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fileSystem, path)
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources.Resources() {
		manifest, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, decode(t, manifest))
	}
	return objects
}

// the returns the only object of a type.
func the[T runtime.Object](t *testing.T, objects []runtime.Object) (object T) {
	t.Helper()
	count := 0
	for _, one := range objects {
		if typed, ok := one.(T); ok {
			object = typed
			count++
		}
	}
	if count != 1 {
		t.Fatalf("%d objects of the type %T", count, object)
	}
	return object
}

// serviceOf returns the Service of a name.
func serviceOf(t *testing.T, objects []runtime.Object, name string) *corev1.Service {
	t.Helper()
	for _, object := range objects {
		if service, ok := object.(*corev1.Service); ok && service.Name == name {
			return service
		}
	}
	t.Fatalf("there is no Service %s", name)
	return nil
}

func TestEveryManifestIsWhatTheAPIKnows(t *testing.T) {
	files, err := filepath.Glob(folder + "/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var decoded int
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue // kustomize decodes it, strictly too
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for document := range bytes.SplitSeq(content, []byte("\n---\n")) {
			decode(t, document)
			decoded++
		}
	}
	kustomization, err := os.ReadFile(folder + "/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" && !strings.Contains(string(kustomization), "- "+name+"\n") {
			t.Errorf("kustomization.yaml does not list %s", name)
		}
	}
	// The files, and the two ConfigMaps that are generated.
	if objects := build(t, filesys.MakeFsOnDisk(), folder); len(objects) != decoded+2 {
		t.Errorf("%d objects are built of %d", len(objects), decoded)
	}
}

func TestWhatTheAPIDoesNotKnowIsRefused(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	if _, _, err := decoder.Decode([]byte("apiVersion: v1\nkind: ServiceAccount\nautomountToken: true\n"), nil, nil); err == nil {
		t.Error("an unknown field is accepted: the tests prove nothing")
	}
}

func TestThePartsFitTogether(t *testing.T) {
	objects := build(t, filesys.MakeFsOnDisk(), folder)
	deployment, service := the[*appsv1.Deployment](t, objects), serviceOf(t, objects, "caddy-tigergraph")
	pod := deployment.Spec.Template
	selects := func(what string, selector *metav1.LabelSelector) {
		t.Helper()
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s does not select the pods: %v, %v", what, s, err)
		}
	}
	selects("the Deployment", deployment.Spec.Selector)
	selects("the Service", &metav1.LabelSelector{MatchLabels: service.Spec.Selector})
	selects("the PodDisruptionBudget", the[*policyv1.PodDisruptionBudget](t, objects).Spec.Selector)
	selects("the NetworkPolicy", &the[*networkingv1.NetworkPolicy](t, objects).Spec.PodSelector)
	for _, spread := range pod.Spec.TopologySpreadConstraints {
		selects("the spreading", spread.LabelSelector)
	}
	selects("what keeps the edges apart", pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector)
	if name := the[*corev1.ServiceAccount](t, objects).Name; pod.Spec.ServiceAccountName != name {
		t.Errorf("the account is %s, the pods use %s", name, pod.Spec.ServiceAccountName)
	}

	container := pod.Spec.Containers[0]
	ports := make(map[string]int32)
	for _, port := range container.Ports {
		ports[port.Name] = port.ContainerPort
	}
	known := func(what string, port intstr.IntOrString) {
		t.Helper()
		if _, found := ports[port.StrVal]; !found {
			t.Errorf("%s names the port %s, which the pod has not", what, port.String())
		}
	}
	for _, port := range service.Spec.Ports {
		known("the Service", port.TargetPort)
	}
	for _, rule := range the[*networkingv1.NetworkPolicy](t, objects).Spec.Ingress {
		for _, port := range rule.Ports {
			known("the NetworkPolicy", *port.Port)
		}
	}
	for what, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "liveness": container.LivenessProbe, "readiness": container.ReadinessProbe} {
		known("the probe of "+what, probe.HTTPGet.Port)
	}

	// The nodes are the operator's pods, ready or not, and may be reached.
	nodes, policy := serviceOf(t, objects, "caddy-tigergraph-nodes"), the[*networkingv1.NetworkPolicy](t, objects)
	if nodes.Spec.ClusterIP != corev1.ClusterIPNone || !nodes.Spec.PublishNotReadyAddresses {
		t.Errorf("the nodes' Service is %+v", nodes.Spec)
	}
	if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
		t.Error("the edge may reach everything")
	}
	reached := policy.Spec.Egress[0]
	if s, err := metav1.LabelSelectorAsSelector(reached.To[0].PodSelector); err != nil || !s.Matches(labels.Set(nodes.Spec.Selector)) || s.Matches(labels.Set(pod.Labels)) {
		t.Errorf("the edge may reach %v: %v", s, err)
	}
	if reached.Ports[0].Port.IntVal != nodes.Spec.Ports[0].Port || !strings.Contains(caddyfileOf(objects), "port "+reached.Ports[0].Port.String()+"\n") {
		t.Errorf("the edge may reach the port %s", reached.Ports[0].Port)
	}
	if rest := policy.Spec.Egress[1]; len(rest.To) != 0 || len(rest.Ports) != 2 || rest.Ports[0].Port.IntVal != 53 || rest.Ports[1].Port.IntVal != 53 {
		t.Errorf("beside nodes it may reach %+v", rest)
	}

	// What the pod reads exists: ConfigMaps here, Secrets by the guide.
	var configMaps []string
	environment := make(map[string]bool)
	caddyfile := caddyfileOf(objects)
	for _, object := range objects {
		if configMap, ok := object.(*corev1.ConfigMap); ok {
			configMaps = append(configMaps, configMap.Name)
			for _, from := range container.EnvFrom {
				if from.ConfigMapRef.Name == configMap.Name {
					for name := range configMap.Data {
						environment[name] = true
					}
				}
			}
		}
	}
	for _, variable := range container.Env {
		environment[variable.Name] = true
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.ConfigMap != nil && !slices.Contains(configMaps, volume.ConfigMap.Name) {
			t.Errorf("there is no ConfigMap %s", volume.ConfigMap.Name)
		}
	}
	used := make(map[string]bool)
	for _, start := range []string{"{$", "{env."} {
		for _, placeholder := range strings.Split(caddyfile, start)[1:] {
			name := placeholder[:strings.IndexAny(placeholder, ":?}")]
			if used[name] = true; !environment[name] {
				t.Errorf("the Caddyfile wants %s, which the pod has not", name)
			}
		}
	}
	for name := range environment {
		if !used[name] {
			t.Errorf("the Caddyfile does not use %s", name)
		}
	}
	for _, port := range []string{"http_port 8080", "https_port 8443", "http://:9180"} {
		if !strings.Contains(caddyfile, port) {
			t.Errorf("the Caddyfile lacks %s", port)
		}
	}
	// Requests have the time that Caddy gives them.
	grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	if !strings.Contains(caddyfile, "shutdown_delay 10s") || !strings.Contains(caddyfile, "grace_period 120s") || grace <= 10*time.Second+2*time.Minute {
		t.Errorf("the pod is killed after %s", grace)
	}
}

// caddyfileOf returns the Caddyfile among the objects.
func caddyfileOf(objects []runtime.Object) (caddyfile string) {
	for _, object := range objects {
		if configMap, ok := object.(*corev1.ConfigMap); ok {
			caddyfile += configMap.Data["Caddyfile"]
		}
	}
	return caddyfile
}

// The rules of the restricted Pod Security Standard, and a read-only root.
func TestThePodIsRestricted(t *testing.T) {
	objects := build(t, filesys.MakeFsOnDisk(), folder)
	spec := the[*appsv1.Deployment](t, objects).Spec.Template.Spec
	if spec.HostNetwork || spec.HostPID || spec.HostIPC || *spec.AutomountServiceAccountToken {
		t.Error("the pod shares the host's namespaces, or has a token")
	}
	if !*spec.SecurityContext.RunAsNonRoot || *spec.SecurityContext.RunAsUser == 0 || spec.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod's security context is %v", spec.SecurityContext)
	}
	for _, volume := range spec.Volumes {
		if volume.HostPath != nil {
			t.Errorf("%s is a folder of the host", volume.Name)
		}
	}
	for _, container := range spec.Containers {
		security := container.SecurityContext
		if *security.AllowPrivilegeEscalation || !*security.ReadOnlyRootFilesystem || security.Privileged != nil {
			t.Errorf("the container's security context is %v", security)
		}
		if !slices.Equal(security.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(security.Capabilities.Add, []corev1.Capability{"NET_BIND_SERVICE"}) {
			t.Errorf("the container's capabilities are %v", security.Capabilities)
		}
	}
}

// overlay returns the overlay of the guide, upon the base that is here, and where
// to build it. Further files lie beside it.
func overlay(t *testing.T, change func(kustomization string) string, further map[string]string) (filesys.FileSystem, string) {
	t.Helper()
	guide, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, kustomization, found := strings.Cut(string(guide), "```yaml\n# kustomization.yaml\n")
	if !found {
		t.Fatal("the guide has no overlay")
	}
	kustomization, _, _ = strings.Cut(kustomization, "```")
	const base = "github.com/caddy-tigergraph/caddy-tigergraph//deploy/kubernetes?ref=v1.2.3"
	if strings.Count(kustomization, base) != 1 {
		t.Fatalf("the overlay is not based on %s", base)
	}
	kustomization = change(strings.Replace(kustomization, base, "../base", 1))
	fileSystem := filesys.MakeFsInMemory()
	files, err := filepath.Glob(folder + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) == "podmonitor" {
			continue // a component, which the guide's overlay is without
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := fileSystem.WriteFile("/base/"+filepath.Base(file), content); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range further {
		if err := fileSystem.WriteFile("/overlay/"+name, []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fileSystem.WriteFile("/overlay/kustomization.yaml", []byte(kustomization)); err != nil {
		t.Fatal(err)
	}
	return fileSystem, "/overlay"
}

const image = "ghcr.io/caddy-tigergraph/caddy-tigergraph"

// The overlay of the guide changes what it says it changes.
func TestTheGuidesOverlay(t *testing.T) {
	base := the[*appsv1.Deployment](t, build(t, filesys.MakeFsOnDisk(), folder))
	if name := base.Spec.Template.Spec.Containers[0].Image; !regexp.MustCompile("^" + image + `:\d+\.\d+\.\d+$`).MatchString(name) {
		t.Errorf("the base runs the image %s, of no certain version", name)
	}
	var values []string
	fileSystem, path := overlay(t, func(kustomization string) string { return kustomization }, nil)
	for _, object := range build(t, fileSystem, path) {
		if configMap, ok := object.(*corev1.ConfigMap); ok && configMap.Data["SITE"] != "" {
			values = append(values, configMap.Namespace, configMap.Data["SITE"], configMap.Data["TIGERGRAPH_SERVICE"])
		}
		if service, ok := object.(*corev1.Service); ok && service.Spec.ClusterIP == corev1.ClusterIPNone {
			values = append(values, service.Name, service.Spec.Selector["tigergraph.com/cluster-pod"])
		}
		if deployment, ok := object.(*appsv1.Deployment); ok {
			if *deployment.Spec.Replicas != 3 {
				t.Errorf("%d replicas", *deployment.Spec.Replicas)
			}
			// The workflow gives images the release's number without its v.
			if name := deployment.Spec.Template.Spec.Containers[0].Image; name != image+":1.2.3" {
				t.Errorf("the overlay runs the image %s", name)
			}
		}
	}
	slices.Sort(values)
	if !slices.Equal(values, []string{"caddy-tigergraph-nodes", "caddy-tigergraph-nodes", "graph.example.net", "mycluster", "tigergraph"}) {
		t.Errorf("the overlay sets %v", values)
	}
}

// An overlay can have a Caddyfile of its own, as the guide says.
func TestTheGuidesOverlayWithItsOwnCaddyfile(t *testing.T) {
	guide, err := os.ReadFile("../../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	const entry = "  - name: caddy-tigergraph\n    behavior: replace\n    files: [Caddyfile]\n"
	if !strings.Contains(string(guide), entry) {
		t.Fatalf("the guide does not say\n%s", entry)
	}
	fileSystem, path := overlay(t, func(kustomization string) string {
		return strings.Replace(kustomization, "configMapGenerator:\n", "configMapGenerator:\n"+entry, 1)
	}, map[string]string{"Caddyfile": "# my own\n"})
	for _, object := range build(t, fileSystem, path) {
		if configMap, ok := object.(*corev1.ConfigMap); ok && configMap.Data["Caddyfile"] != "" {
			if configMap.Data["Caddyfile"] != "# my own\n" {
				t.Errorf("the Caddyfile is\n%s", configMap.Data["Caddyfile"])
			}
			return
		}
	}
	t.Error("there is no Caddyfile")
}
