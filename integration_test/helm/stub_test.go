package helm_test

import (
	"testing"

	_ "helm.sh/helm/v3/pkg/chart/loader"
	_ "helm.sh/helm/v3/pkg/chartutil"
	_ "helm.sh/helm/v3/pkg/engine"
	_ "helm.sh/helm/v3/pkg/lint"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	_ "sigs.k8s.io/kustomize/api/krusty"
	_ "k8s.io/api/apps/v1"
)

func TestX(t *testing.T) { _ = monitoringv1.PodMonitor{} }
