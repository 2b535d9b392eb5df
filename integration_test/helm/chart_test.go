// Package helm_test holds the chart of deploy/helm against Helm itself, the types of
// Kubernetes' API, and the manifests of deploy/kubernetes.
package helm_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	folder = "../../deploy/helm/caddy-tigergraph"
	base   = "../../deploy/kubernetes"
)

// values reads values as those who install the chart write them.
func values(t *testing.T, text string) chartutil.Values {
	t.Helper()
	read, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// files are the values that are tested as a whole, beside the defaults.
func files(t *testing.T) map[string]chartutil.Values {
	t.Helper()
	found, err := filepath.Glob("values/*.yaml")
	if err != nil || len(found) < 3 {
		t.Fatalf("%v, %v", found, err)
	}
	all := map[string]chartutil.Values{"the defaults": {}}
	for _, file := range found {
		all[file] = values(t, readFile(t, file))
	}
	_, proxied, isThere := strings.Cut(readFile(t, "../../docs/deployment.md"), "```yaml\n# values.yaml, behind a proxy that does TLS\n")
	if !isThere {
		t.Fatal("the guide has no values for an edge behind a proxy")
	}
	proxied, _, _ = strings.Cut(proxied, "```")
	all["the guide's behind a proxy"] = values(t, proxied)
	return all
}

// renderFiles renders the chart as `helm install` does, and returns what its templates make.
func renderFiles(given chartutil.Values) (map[string]string, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return nil, err
	}
	options := chartutil.ReleaseOptions{Name: "caddy-tigergraph", Namespace: "tigergraph", IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, given, options, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(chart, all)
}

// render returns the documents of the rendered chart.
func render(given chartutil.Values) (documents [][]byte, err error) {
	rendered, err := renderFiles(given)
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for document := range strings.SplitSeq(rendered[name], "\n---\n") {
			if strings.TrimSpace(document) != "" {
				documents = append(documents, []byte(document))
			}
		}
	}
	return documents, nil
}

func mustRender(t *testing.T, given chartutil.Values) [][]byte {
	t.Helper()
	documents, err := render(given)
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// decode decodes a manifest, and refuses fields that the API does not know.
func decode(t *testing.T, manifest []byte) runtime.Object {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, monitoringv1.AddToScheme,
	} {
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

// the returns the only object of a type.
func the[T runtime.Object](t *testing.T, documents [][]byte) (object T) {
	t.Helper()
	count := 0
	for _, document := range documents {
		if typed, ok := decode(t, document).(T); ok {
			object = typed
			count++
		}
	}
	if count != 1 {
		t.Fatalf("%d objects of the type %T", count, object)
	}
	return object
}

func TestHelmFindsNothingToSay(t *testing.T) {
	for name, given := range files(t) {
		for _, message := range lint.All(folder, given, "tigergraph", true).Messages {
			if message.Severity >= support.WarningSev {
				t.Errorf("with %s: %s", name, message)
			}
		}
	}
}

func TestWhatTheChartMakesIsWhatTheAPIKnows(t *testing.T) {
	kinds := make(map[string]bool)
	for name, given := range files(t) {
		documents := mustRender(t, given)
		for _, document := range documents {
			kinds[decode(t, document).GetObjectKind().GroupVersionKind().Kind] = true
		}
		if len(documents) < 7 {
			t.Errorf("with %s it makes %d objects", name, len(documents))
		}
	}
	if !kinds["PodMonitor"] || !kinds["NetworkPolicy"] {
		t.Errorf("the values make %v", slices.Collect(maps.Keys(kinds)))
	}
	// That of the base's component.
	decode(t, []byte(readFile(t, base+"/podmonitor/podmonitor.yaml")))
}

// digested are the names that kustomize ends in a digest.
var digested = regexp.MustCompile(`^(caddy-tigergraph(?:-environment)?)-[0-9a-z]{10}$`)

// comparable strips an object of what only one of the two ways gives it: Helm's labels
// and its digest of the configuration, kustomize's digests in names.
func comparable(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for _, key := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "checksum/config"} {
			delete(value, key)
		}
		for key, inner := range value {
			value[key] = comparable(inner)
		}
	case []any:
		for i, inner := range value {
			value[i] = comparable(inner)
		}
	case string:
		if match := digested.FindStringSubmatch(value); match != nil {
			return match[1]
		}
	}
	return value
}

// byName returns objects by their kinds and names, comparable.
func byName(t *testing.T, documents [][]byte) map[string]any {
	t.Helper()
	objects := make(map[string]any)
	for _, document := range documents {
		var object map[string]any
		if err := yaml.Unmarshal(document, &object); err != nil {
			t.Fatal(err)
		}
		comparable(object)
		metadata, _ := object["metadata"].(map[string]any)
		objects[object["kind"].(string)+" "+metadata["name"].(string)] = object
	}
	return objects
}

// manifests builds an overlay upon the base as `kubectl apply -k` does.
func manifests(t *testing.T, kustomization string) (documents [][]byte) {
	t.Helper()
	fileSystem := filesys.MakeFsInMemory()
	if err := filepath.WalkDir(base, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		return fileSystem.WriteFile("/clone/deploy/kubernetes"+strings.TrimPrefix(filepath.ToSlash(name), base), []byte(readFile(t, name)))
	}); err != nil {
		t.Fatal(err)
	}
	if err := fileSystem.WriteFile("/overlay/kustomization.yaml", []byte(kustomization)); err != nil {
		t.Fatal(err)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fileSystem, "/overlay")
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range resources.Resources() {
		manifest, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, manifest)
	}
	return documents
}

// guidesComponents is the line of the guide by which an overlay takes in the PodMonitor,
// of the clone.
func guidesComponents(t *testing.T) string {
	t.Helper()
	line := regexp.MustCompile("`(components: .*)`").FindStringSubmatch(readFile(t, "../../docs/deployment.md"))
	if line == nil {
		t.Fatal("the guide names no component")
	}
	remote := regexp.MustCompile(`github\.com/caddy-tigergraph/caddy-tigergraph//([a-z/]+)\?ref=v1\.2\.3`)
	if !remote.MatchString(line[1]) {
		t.Fatalf("the guide's components are not this repository's: %s", line[1])
	}
	return remote.ReplaceAllString(line[1], "../clone/$1") + "\n"
}

// The two ways to Kubernetes are one, so that neither is forgotten: as they are, and with
// what Prometheus' operator needs.
func TestTheChartIsTheManifests(t *testing.T) {
	const overlay = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [../clone/deploy/kubernetes]\n"
	for name, test := range map[string]struct{ values, overlay, also string }{
		"the defaults":      {"", overlay, "Deployment caddy-tigergraph"},
		"with a PodMonitor": {"podMonitor: {enabled: true}", overlay + guidesComponents(t), "PodMonitor caddy-tigergraph"},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := byName(t, manifests(t, test.overlay)), byName(t, mustRender(t, values(t, test.values)))
			if want[test.also] == nil {
				t.Errorf("deploy/kubernetes has no %s", test.also)
			}
			for name, object := range want {
				if !reflect.DeepEqual(got[name], object) {
					is, _ := yaml.Marshal(got[name])
					wanted, _ := yaml.Marshal(object)
					t.Errorf("%s is\n%s\nand in deploy/kubernetes\n%s", name, is, wanted)
				}
				delete(got, name)
			}
			if len(got) > 0 {
				t.Errorf("only the chart makes %v", slices.Collect(maps.Keys(got)))
			}
		})
	}
}

func TestBadValuesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"sites: graph.example.net":                           "sites",
		"site: graph.example.net/path":                       "site",
		"replicas: 0":                                        "replicas",
		"replicas: two":                                      "replicas",
		"image: {tag: latest}":                               "image",
		"image: {digest: sha256:123}":                        "digest",
		"tigergraph: {nodes: m1}":                            "nodes",
		"tigergraph: {nodes: ['m1,m2']}":                     "nodes",
		"tigergraph: {nodes: ['m1:0']}":                      "nodes",
		"tigergraph: {nodes: [m1, m1]}":                      "nodes",
		"tigergraph: {operatorCluster: My_Cluster}":          "operatorCluster",
		"tigergraph: {standby: [{name: dr}]}":                "standby",
		"tigergraph: {standby: [{name: dr, nodes: []}]}":     "standby",
		"cookieKey: {secret: ''}":                            "cookieKey",
		"cookieKey: {value: 0123456789abcdef}":               "cookieKey",
		"service: {type: ExternalName}":                      "service",
		"gracePeriod: 2m":                                    "gracePeriod",
		"podMonitor: {interval: soon}":                       "podMonitor",
		"networkPolicy: {from: [10.0.0.0/8]}":                "networkPolicy",
		"networkPolicy: {metricsFrom: [{podSelectors: {}}]}": "networkPolicy",
		"resources: {limit: {memory: 1Gi}}":                  "resources",
	} {
		if _, err := render(values(t, text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is answered with %v", text, err)
		}
	}
}

func TestTheValuesReachTheObjects(t *testing.T) {
	all := files(t)
	named := mustRender(t, all["values/named.yaml"])
	policy := the[*networkingv1.NetworkPolicy](t, named)
	var ports []string
	for _, port := range policy.Spec.Egress[0].Ports {
		ports = append(ports, port.Port.String())
	}
	if !slices.Equal(ports, []string{"14240", "8443"}) || policy.Spec.Egress[0].To[0].IPBlock.CIDR != "10.1.0.0/16" || len(policy.Spec.Egress) != 3 {
		t.Errorf("the edge may reach %+v", policy.Spec.Egress)
	}
	if deployment := the[*appsv1.Deployment](t, named); *deployment.Spec.Template.Spec.TerminationGracePeriodSeconds <= 605 {
		t.Error("a pod is killed within its grace period")
	}
	for _, document := range named {
		if strings.Contains(string(document), "kind: Service\n") && strings.Contains(string(document), "clusterIP: None") {
			t.Error("nodes that have names get a service")
		}
	}
	behind := the[*appsv1.Deployment](t, mustRender(t, all["values/behind.yaml"])).Spec.Template
	if image := behind.Spec.Containers[0].Image; !strings.HasPrefix(image, "registry.example.net/edge@sha256:0123") {
		t.Errorf("the image is %s", image)
	}
	// Its ingress has the certificate; without the Secret, no pod that asks for it starts.
	for _, volume := range behind.Spec.Volumes {
		if volume.Secret != nil {
			t.Errorf("a site of plain HTTP asks for the Secret %s", volume.Secret.SecretName)
		}
	}
	for name, given := range all {
		rendered, err := renderFiles(given)
		if err != nil {
			t.Fatal(err)
		}
		site, _ := given["site"].(string)
		notes, tls := rendered["caddy-tigergraph/templates/NOTES.txt"], !strings.HasPrefix(site, "http:")
		if strings.Contains(notes, "two Secrets") != tls || strings.Contains(notes, "secret tls") != tls || !strings.Contains(notes, "secret generic") {
			t.Errorf("with %s the notes are\n%s", name, notes)
		}
	}
	operator := mustRender(t, all["values/operator.yaml"])
	deployment := the[*appsv1.Deployment](t, operator)
	if *deployment.Spec.Replicas != 3 || deployment.Spec.Template.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef.Name != "edge-key" {
		t.Errorf("the Deployment is %+v", deployment.Spec)
	}
	// A change of the Caddyfile rolls the edges.
	digest := func(given chartutil.Values) string {
		return the[*appsv1.Deployment](t, mustRender(t, given)).Spec.Template.Annotations["checksum/config"]
	}
	if digest(nil) == "" || digest(nil) == digest(values(t, "globalOptions: email a@example.net")) {
		t.Error("a change of the Caddyfile changes nothing of the pods")
	}
	if chart, err := loader.Load(folder); err != nil || chart.Metadata.Version != chart.Metadata.AppVersion {
		t.Errorf("the chart has another version than the edge: %v", err)
	}
}

// The values of the guide are values.
func TestTheGuidesValues(t *testing.T) {
	_, text, found := strings.Cut(readFile(t, "../../docs/deployment.md"), "```yaml\n# values.yaml\n")
	text, _, _ = strings.Cut(text, "```")
	if !found {
		t.Fatal("the guide has no values.yaml")
	}
	documents := mustRender(t, values(t, text))
	if monitor := the[*monitoringv1.PodMonitor](t, documents); monitor.Spec.PodMetricsEndpoints[0].Path != "/metrics" {
		t.Errorf("the PodMonitor is %+v", monitor.Spec)
	}
}
