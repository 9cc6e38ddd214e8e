package tests

import (
	"fmt"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// workload is one of kind, with own init containers and volumes or without.
func workload(kind string, own bool) string {
	version, wrap := "apps/v1", ""
	spec := "{selector: {matchLabels: {app: x}}, template: "
	switch kind {
	case "StatefulSet":
		spec = "{serviceName: x, selector: {matchLabels: {app: x}}, template: "
	case "Job":
		version, spec = "batch/v1", "{activeDeadlineSeconds: 60, template: "
	case "CronJob":
		version, spec, wrap = "batch/v1", "{schedule: '@daily', jobTemplate: {spec: {activeDeadlineSeconds: 60, template: ", "}}"
	}
	restricted := "securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, " +
		"capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"
	container := func(name string) string { return "{name: " + name + ", image: x, " + restricted + "}" }
	pod := "containers: [" + container("app") + ", " + container("second") + "]"
	if version == "batch/v1" {
		pod += ", restartPolicy: Never"
	}
	if own {
		pod += ", initContainers: [" + container("first") + ", " + container("next") + "]" +
			", volumes: [{name: cache, emptyDir: {}}, {name: more, emptyDir: {}}], terminationGracePeriodSeconds: 60"
	}
	return fmt.Sprintf(`apiVersion: %s
kind: %s
metadata:
  name: %s-%t
  labels: {token-sidecar.dev/sidecar: "true"}
spec: %s{metadata: {labels: {app: x}}, spec: {%s}}%s}
`, version, kind, strings.ToLower(kind), own, spec, pod, wrap)
}

func TestComponentServesEveryKindOfWorkload(t *testing.T) {
	var texts []string
	for _, kind := range []string{"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"} {
		texts = append(texts, workload(kind, false), workload(kind, true))
	}
	text := strings.Join(texts, "---\n")
	o := newOverlay(t)
	if err := o.WriteFile("/example/shop.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	objects, before := o.build(t, "/example"), marked(t, decode(t, text))
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
		if c.Image != "registry.example/token-sidecar:0.1.0" {
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
