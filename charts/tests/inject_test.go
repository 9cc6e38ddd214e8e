package tests

import (
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func TestTry(t *testing.T) {
	objects, err := render(t, valueSets(t)["inject"])
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects, &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "app", Labels: map[string]string{"library": "yes"}}})
	c := newCluster(t, objects...)
	p := &core.Pod{ObjectMeta: meta.ObjectMeta{Name: "a", Namespace: "app", Annotations: map[string]string{"token-sidecar.dev/inject": "library"}},
		Spec: core.PodSpec{Containers: []core.Container{{Name: "app", Image: "x"}}}}
	out, err := c.create(p)
	text, _ := yaml.Marshal(out)
	t.Logf("%v\n%s", err, text)
	p.Annotations["token-sidecar.dev/inject"] = "other"
	_, err = c.create(p)
	t.Log(err)
}
