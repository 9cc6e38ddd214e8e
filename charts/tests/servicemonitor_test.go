package tests

import (
	"maps"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// TestServiceMonitorFindsThePods goes the way of the operator: from the ServiceMonitor to the Service, and from
// there to the pods and the port of the admin listener.
func TestServiceMonitorFindsThePods(t *testing.T) {
	objects, err := render(t, valueSets(t)["service-monitor"])
	if err != nil {
		t.Fatal(err)
	}
	monitor := named[*monitoring.ServiceMonitor](t, objects, "demo-token-sidecar")
	service := named[*core.Service](t, objects, "demo-token-sidecar-admin")
	selector, err := meta.LabelSelectorAsSelector(&monitor.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if !selector.Matches(labels.Set(service.Labels)) || len(monitor.Spec.Selector.MatchLabels) < 3 {
		t.Errorf("it selects %v, the Service has %v", monitor.Spec.Selector, service.Labels)
	}
	if monitor.Labels["release"] != "kube-prometheus-stack" || service.Labels["release"] != "" {
		t.Error("its labels are not those that Prometheus selects by, or the Service has them too")
	}
	endpoint, port := monitor.Spec.Endpoints[0], service.Spec.Ports[0]
	if endpoint.Port != port.Name || endpoint.Path != "/metrics" || endpoint.Interval != "15s" {
		t.Errorf("it scrapes %+v of %+v", endpoint, port)
	}
	pod := onlyPod(t, objects)
	if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) || len(service.Spec.Selector) == 0 {
		t.Errorf("the Service selects %v, the pod has %v", service.Spec.Selector, pod.Labels)
	}
	// By number: older clusters do not find a native sidecar's port by its name.
	c, _ := sidecar(t, pod)
	if port.TargetPort.IntVal != c.Ports[0].ContainerPort || port.Port != 9191 {
		t.Errorf("the Service leads to %+v, the sidecar has %+v", port, c.Ports)
	}
	if service.Spec.ClusterIP != core.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
		t.Errorf("pods that are not ready are not scraped: %+v", service.Spec)
	}
}

func TestServiceMonitorFollowsPodSelector(t *testing.T) {
	values := valueSets(t)["service-monitor"]
	values["podSelector"] = map[string]any{"matchLabels": map[string]any{"app": "shop"}}
	var names []string
	for _, end := range []string{"abc", "abd", strings.Repeat("x", 20)} { // of which the names of the Services have no room
		values["fullnameOverride"] = strings.Repeat("long-", 12) + end
		objects, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			service, ok := object.(*core.Service)
			if !ok {
				continue
			}
			if !maps.Equal(service.Spec.Selector, map[string]string{"app": "shop"}) || len(service.Name) > 63 || slices.Contains(names, service.Name) {
				t.Errorf("%s selects %v; before it %v", service.Name, service.Spec.Selector, names)
			}
			names = append(names, service.Name)
		}
	}
	if len(names) != 3 {
		t.Errorf("the Services are %v", names)
	}
}
