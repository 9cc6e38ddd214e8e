package tests

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kustomizeDir = "../kustomize"

// shopValues are the values of the chart that say the same as the example overlay.
func shopValues(secret string) map[string]any {
	return map[string]any{
		"fullnameOverride": "token-sidecar",
		"existingSecret":   secret,
		"settings":         map[string]any{"OCLC_INSTITUTION": "128807"},
		"settingsFrom":     map[string]any{"OCLC_WSKEY": map[string]any{}, "OCLC_SECRET": map[string]any{}},
		"image":            map[string]any{"repository": "token-sidecar"},
	}
}

// chartPod is the pod that has the chart's container and volume and nothing else, with the objects beside it.
func chartPod(t *testing.T, values map[string]any) (*core.PodTemplateSpec, []runtime.Object) {
	t.Helper()
	text, err := renderText(parent(t, ""), map[string]any{"token-sidecar": values}, kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, text)
	full := named[*apps.Deployment](t, objects, "shop").Spec.Template
	c, _ := sidecar(t, &full)
	var pod core.PodTemplateSpec
	pod.Spec.InitContainers, pod.Spec.Volumes = []core.Container{c}, full.Spec.Volumes
	return &pod, objects
}

// componentPod is what the component adds: the chart's container and volume, with these differences.
// The overlay's ConfigMap says where files are, so their variables are left out; every key of the Secret
// is a file; and what the chart sets to the program's own default is left to the ConfigMap, because it
// could not overrule a variable of the container.
func componentPod(t *testing.T) *core.PodTemplateSpec {
	t.Helper()
	defaults := map[string]string{}
	for _, s := range settings(t) {
		defaults["SIDECAR_"+s.name] = s.tag.Get("envDefault")
	}
	pod, _ := chartPod(t, shopValues("token-sidecar"))
	c := &pod.Spec.InitContainers[0]
	c.Env = slices.DeleteFunc(c.Env, func(e core.EnvVar) bool {
		return strings.HasPrefix(e.Value, c.VolumeMounts[0].MountPath) || e.Value != "" && e.Value == defaults[e.Name]
	})
	for i := range pod.Spec.Volumes[0].Projected.Sources {
		pod.Spec.Volumes[0].Projected.Sources[i].Secret.Items = nil
	}
	return pod
}

// TestComponentAddsWhatTheChartAdds keeps the component's patches in step with the chart.
func TestComponentAddsWhatTheChartAdds(t *testing.T) {
	pod := componentPod(t)
	all := meta.ObjectMeta{Name: "all-marked"}
	deployment := apps.Deployment{TypeMeta: meta.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: all}
	deployment.Spec.Template = *pod
	cronJob := batch.CronJob{TypeMeta: meta.TypeMeta{APIVersion: "batch/v1", Kind: "CronJob"}, ObjectMeta: all}
	cronJob.Spec.JobTemplate.Spec.Template = *pod
	for name, object := range map[string]runtime.Object{"pod.yaml": &deployment, "cronjob.yaml": &cronJob} {
		text, err := yaml.Marshal(withoutEmpty(t, object))
		if err != nil {
			t.Fatal(err)
		}
		head := "# Made from the chart by go test ./... -update in charts/tests.\n"
		compare(t, kustomizeDir+"/component/"+name, append([]byte(head), text...))
	}
}

// withoutEmpty gives an object as a patch has it: an empty value there would replace one.
func withoutEmpty(t *testing.T, object runtime.Object) map[string]any {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	var prune func(value any) bool
	prune = func(value any) bool {
		switch v := value.(type) {
		case nil:
			return true
		case string:
			return v == ""
		case map[string]any:
			maps.DeleteFunc(v, func(_ string, inner any) bool { return prune(inner) })
			return len(v) == 0
		case []any:
			for _, inner := range v {
				prune(inner)
			}
		}
		return false
	}
	prune(fields)
	return fields
}

// overlay is where an overlay and the component lie.
type overlay struct{ filesys.FileSystem }

var onDisk = overlay{filesys.MakeFsOnDisk()}

// newOverlay copies charts/kustomize into memory: the example is the overlay that tests change.
func newOverlay(t *testing.T) overlay {
	t.Helper()
	o := overlay{filesys.MakeFsInMemory()}
	source := os.DirFS(kustomizeDir)
	err := fs.WalkDir(source, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(source, path)
		if err != nil {
			return err
		}
		return o.WriteFile(filepath.Join("/", path), text)
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// edit replaces text in a file of the example.
func (o overlay) edit(t *testing.T, name, old, new string) {
	t.Helper()
	text, err := o.ReadFile("/example/" + name)
	if err != nil || !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s has no %q: %v", name, old, err)
	}
	if err := o.WriteFile("/example/"+name, bytes.ReplaceAll(text, []byte(old), []byte(new))); err != nil {
		t.Fatal(err)
	}
}

// build gives what kubectl kustomize prints for a directory, with the Secret that is there already.
func (o overlay) build(t *testing.T, dir string) []runtime.Object {
	t.Helper()
	secret := &core.Secret{StringData: map[string]string{"OCLC_WSKEY": "value-of-wskey", "OCLC_SECRET": "value-of-secret"}}
	secret.Name = "shop-providers"
	return append(decode(t, o.buildText(t, dir)), secret)
}

// buildText builds an overlay as kubectl does.
func (o overlay) buildText(t *testing.T, dir string) string {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(o, dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := resources.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// named returns the object of a name.
func named[T meta.Object](t *testing.T, objects []runtime.Object, name string) T {
	t.Helper()
	for _, object := range objects {
		if o, ok := object.(T); ok && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %T %s", *new(T), name)
	panic("unreachable")
}

// marked are the workloads that have the label, of all kinds that the component knows.
func marked(t *testing.T, objects []runtime.Object) map[string]*core.PodTemplateSpec {
	t.Helper()
	found := map[string]*core.PodTemplateSpec{}
	for _, object := range objects {
		if pod := podOf(object); pod != nil && object.(meta.Object).GetLabels()["token-sidecar.dev/sidecar"] == "true" {
			found[fmt.Sprintf("%T %s", object, object.(meta.Object).GetName())] = pod
		}
	}
	return found
}

// checkMarked checks a workload that the component changed: the sidecar is there and first, and all
// that the workload had follows in its old order.
func checkMarked(t *testing.T, objects []runtime.Object, pod, before *core.PodTemplateSpec) {
	t.Helper()
	checkSidecar(t, objects, pod)
	if fault := accepts(t, environ(t, objects, pod, t.TempDir())); fault != "" {
		t.Error(fault)
	}
	if len(pod.Spec.InitContainers) == 0 || pod.Spec.InitContainers[0].Name != "token-sidecar" {
		t.Fatal("the sidecar is not the first init container")
	}
	rest := pod.DeepCopy()
	rest.Spec.InitContainers, rest.Spec.Volumes = rest.Spec.InitContainers[1:], slices.DeleteFunc(rest.Spec.Volumes,
		func(v core.Volume) bool { return v.Name == "token-sidecar" })
	if len(rest.Spec.InitContainers) == 0 {
		rest.Spec.InitContainers = nil
	}
	if len(rest.Spec.Volumes) == 0 {
		rest.Spec.Volumes = nil
	}
	if !reflect.DeepEqual(rest, before) {
		a, _ := yaml.Marshal(before)
		b, _ := yaml.Marshal(rest)
		t.Errorf("more has changed: %s", firstDifference(string(a), string(b)))
	}
}

// checkOnlyPodsChanged compares all of the workloads but their pods.
func checkOnlyPodsChanged(t *testing.T, objects, before []runtime.Object) {
	t.Helper()
	rest := map[string]runtime.Object{}
	bare := func(o runtime.Object) (string, runtime.Object) {
		o = o.DeepCopyObject()
		*podOf(o) = core.PodTemplateSpec{}
		about := o.(meta.Object)
		about.SetNamespace("")
		return o.GetObjectKind().GroupVersionKind().Kind + " " + about.GetName(), o
	}
	for _, o := range before {
		if podOf(o) != nil {
			name, o := bare(o)
			rest[name] = o
		}
	}
	for _, o := range objects {
		if podOf(o) == nil {
			continue
		}
		if name, o := bare(o); !reflect.DeepEqual(o, rest[name]) {
			t.Errorf("%s is changed: %+v, before %+v", name, o, rest[name])
		}
	}
}

func TestComponentServesTheExample(t *testing.T) {
	objects := newOverlay(t).build(t, "/example")
	before := decode(t, string(read(t, kustomizeDir+"/example/shop.yaml")))
	if n := len(marked(t, objects)); n != 3 {
		t.Errorf("%d marked workloads, want a Deployment, a Job and a CronJob", n)
	}
	for name, pod := range marked(t, objects) {
		t.Run(name, func(t *testing.T) { checkMarked(t, objects, pod, marked(t, before)[name]) })
	}
	checkOnlyPodsChanged(t, objects, before)
	website := named[*apps.Deployment](t, objects, "website")
	website.Namespace = ""
	if !reflect.DeepEqual(website, named[*apps.Deployment](t, before, "website")) {
		t.Error("a Deployment without the label is changed")
	}
	checkJob(t, "shop-import", named[*batch.Job](t, objects, "shop-import").Spec)
	checkJob(t, "shop-nightly", named[*batch.CronJob](t, objects, "shop-nightly").Spec.JobTemplate.Spec)

	// The program is told the same as by the chart.
	dir := t.TempDir()
	theirs, beside := chartPod(t, shopValues("shop-providers"))
	want := environ(t, beside, theirs, dir)
	got := environ(t, objects, &named[*apps.Deployment](t, objects, "shop").Spec.Template, dir)
	for _, s := range settings(t) {
		if name := "SIDECAR_" + s.name; got[name] == "" && want[name] == s.tag.Get("envDefault") {
			delete(want, name)
		}
	}
	if !maps.Equal(want, got) {
		t.Errorf("the program is told %v, by the chart %v", got, want)
	}
}
