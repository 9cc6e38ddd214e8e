package tests

import (
	"fmt"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// workloadSpecs are the specs of the kinds that the component knows, around a pod template.
var workloadSpecs = map[string]string{
	"apps/v1 Deployment":  "{selector: {matchLabels: {app: x}}, template: %s}",
	"apps/v1 StatefulSet": "{serviceName: x, selector: {matchLabels: {app: x}}, template: %s}",
	"apps/v1 DaemonSet":   "{selector: {matchLabels: {app: x}}, template: %s}",
	"batch/v1 Job":        "{activeDeadlineSeconds: 60, template: %s}",
	"batch/v1 CronJob":    "{schedule: '@daily', jobTemplate: {spec: {activeDeadlineSeconds: 60, template: %s}}}",
}

// templates are a pod template with nothing but containers, and one with everything that the component adds to.
func templates(restartPolicy string) map[string]string {
	container := func(name string) string {
		return "{name: " + name + ", image: x, securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, " +
			"capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}}"
	}
	bare := "restartPolicy: " + restartPolicy + ", containers: [" + container("app") + ", " + container("second") + "]"
	full := bare + ", initContainers: [" + container("first") + ", " + container("next") + "], " +
		"volumes: [{name: cache, emptyDir: {}}, {name: more, emptyDir: {}}], terminationGracePeriodSeconds: 60"
	wrap := func(spec string) string { return "{metadata: {labels: {app: x}}, spec: {" + spec + "}}" }
	return map[string]string{"bare": wrap(bare), "full": wrap(full)}
}

func TestComponentServesEveryKindOfWorkload(t *testing.T) {
	var texts []string
	for head, spec := range workloadSpecs {
		version, kind, _ := strings.Cut(head, " ")
		restartPolicy := "Always"
		if version == "batch/v1" {
			restartPolicy = "Never"
		}
		for name, template := range templates(restartPolicy) {
			texts = append(texts, fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, labels: {token-sidecar.dev/sidecar: 'true'}}\nspec: %s\n",
				version, kind, name, fmt.Sprintf(spec, template)))
		}
	}
	text := strings.Join(texts, "---\n")
	o := newOverlay(t)
	if err := o.WriteFile("/example/shop.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	objects, before := o.build(t, "/example"), marked(t, decode(t, text))
	checkOnlyPodsChanged(t, objects, decode(t, text))
	if n := len(marked(t, objects)); n != len(texts) {
		t.Errorf("%d marked workloads of %d", n, len(texts))
	}
	for name, pod := range marked(t, objects) {
		t.Run(name, func(t *testing.T) { checkMarked(t, objects, pod, before[name]) })
	}
}

func TestOverlayNamesImageSettingsAndSecrets(t *testing.T) {
	configMapOf := func(objects []runtime.Object, name string) string {
		c, _ := sidecar(t, &named[*apps.Deployment](t, objects, name).Spec.Template)
		if c.Image != "registry.example/token-sidecar:1.0.0" {
			t.Errorf("the image is %s", c.Image)
		}
		configMap(t, objects, c.EnvFrom[0].ConfigMapRef.Name)
		return c.EnvFrom[0].ConfigMapRef.Name
	}
	o := newOverlay(t)
	first := configMapOf(o.build(t, "/example"), "shop")
	o.edit(t, "kustomization.yaml", "=128807", "=128808")
	if second := configMapOf(o.build(t, "/example"), "shop"); second == first {
		t.Error("a change of settings does not restart the pods")
	}
	o.edit(t, "kustomization.yaml", "namespace: shop", "namespace: shop\nnamePrefix: test-")
	if name := configMapOf(o.build(t, "/example"), "test-shop"); !strings.HasPrefix(name, "test-token-sidecar-") {
		t.Errorf("with a prefix the ConfigMap is called %s", name)
	}

	// Without the patches the Secret is called token-sidecar.
	o = newOverlay(t)
	text, _ := o.ReadFile("/example/kustomization.yaml")
	head, _, _ := strings.Cut(string(text), "patches:")
	_ = o.WriteFile("/example/kustomization.yaml", []byte(head))
	for name, pod := range marked(t, o.build(t, "/example")) {
		for _, v := range pod.Spec.Volumes {
			if v.Name == "token-sidecar" && v.Projected.Sources[0].Secret.Name != "token-sidecar" {
				t.Errorf("%s reads %+v", name, v.Projected.Sources)
			}
		}
	}
}

// TestLabelComesFromBelow shows what the documents say: a label of the overlay itself comes too late, one of a
// kustomization below does not.
func TestLabelComesFromBelow(t *testing.T) {
	const label = "labels:\n  - pairs: {token-sidecar.dev/sidecar: 'true'}\n"
	hasSidecar := func(o overlay) bool {
		pod := named[*apps.Deployment](t, o.build(t, "/example"), "website").Spec.Template
		return len(pod.Spec.InitContainers) == 1
	}
	o := newOverlay(t)
	o.edit(t, "kustomization.yaml", "patches:", label+"patches:")
	if hasSidecar(o) {
		t.Error("a label of the overlay is enough, the documents say it is not")
	}
	o = newOverlay(t)
	o.edit(t, "kustomization.yaml", "  - shop.yaml", "  - ../below")
	shop, _ := o.ReadFile("/example/shop.yaml")
	for name, text := range map[string]string{"shop.yaml": string(shop), "kustomization.yaml": "resources: [shop.yaml]\n" + label} {
		if err := o.WriteFile("/below/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if !hasSidecar(o) {
		t.Error("a label of the kustomization below does not mark a Deployment")
	}
}

// TestLongerDrainIsSetInTheConfigMap makes sure that no variable of the container overrules what the
// documents say an overlay sets.
func TestLongerDrainIsSetInTheConfigMap(t *testing.T) {
	o := newOverlay(t)
	o.edit(t, "kustomization.yaml", "=128807", "=128807\n      - SIDECAR_DRAIN_TIMEOUT=115s")
	objects := o.build(t, "/example")
	pod := &named[*apps.Deployment](t, objects, "shop").Spec.Template
	if env := environ(t, objects, pod, t.TempDir()); env["SIDECAR_DRAIN_TIMEOUT"] != "115s" {
		t.Errorf("the drain timeout is %q", env["SIDECAR_DRAIN_TIMEOUT"])
	}
}
