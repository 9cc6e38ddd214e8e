package tests

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"token-sidecar/charts/tests/podtable"
)

// release renders the value set inject for a release in a namespace, with a profile.
func release(t *testing.T, namespace, profile string, edit func(*chart.Chart)) []runtime.Object {
	t.Helper()
	c, values := sidecarChart(t), valueSets(t)["inject"]
	values["inject"].(map[string]any)["profile"] = profile
	edit(c)
	text, err := renderRelease(c, values, kubeVersion, "demo", namespace)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, text)
}

// twoReleases renders two releases, each with a profile of its own.
func twoReleases(t *testing.T, edit func(*chart.Chart)) (objects []runtime.Object) {
	t.Helper()
	for _, profile := range []string{podtable.Library, podtable.Other} {
		objects = append(objects, release(t, "release-"+profile, profile, edit)...)
	}
	return objects
}

// injectionCluster has the policies and two namespaces, of which the policies select the first.
func injectionCluster(t *testing.T, policies []runtime.Object) *cluster {
	t.Helper()
	namespace := func(name, library string) *core.Namespace {
		return &core.Namespace{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{"library": library}}}
	}
	return newCluster(t, append(policies, namespace("injected", "yes"), namespace("outside", "no"))...)
}

// asPod is the pod that a controller makes of a template.
func asPod(template *core.PodTemplateSpec, namespace string) *core.Pod {
	pod := &core.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Namespace, pod.Name = namespace, "pod"
	return pod
}

func TestAnnotatedPodsGetTheSidecar(t *testing.T) {
	objects := twoReleases(t, func(*chart.Chart) {})
	c := injectionCluster(t, objects)
	for _, test := range podtable.Cases() {
		t.Run(test.Name, func(t *testing.T) {
			pod := tryCase(t, c, test)
			if pod == nil || test.Profile == "" {
				return
			}
			template := &core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
			checkSidecar(t, objects, template)
			if fault := accepts(t, environ(t, objects, template, t.TempDir())); fault != "" {
				t.Error(fault)
			}
		})
	}
}

// tryCase creates the pod of a case twice, checks what became of it, and returns it if it was accepted.
func tryCase(t podtable.Reporter, c *cluster, test podtable.Case) *core.Pod {
	given := test.Template()
	pod, err := c.create(asPod(given, "injected"))
	switch {
	case len(test.Refused) > 0:
		test.CheckRefused(t, err)
		return nil
	case err != nil:
		t.Error(err)
		return nil
	case test.Profile == "":
		podtable.CheckLeftAlone(t, given, pod)
		return pod
	}
	test.CheckInjected(t, given, pod)
	again, err := c.create(pod)
	if err != nil || !reflect.DeepEqual(again, pod) {
		t.Errorf("a second evaluation changes the pod: %v", err)
	}
	return pod
}

func TestPodsOutsideOfTheNamespacesAreLeftAlone(t *testing.T) {
	c := injectionCluster(t, twoReleases(t, func(*chart.Chart) {}))
	given := podtable.App(podtable.Library)
	pod, err := c.create(asPod(given, "outside"))
	if err != nil {
		t.Fatal(err)
	}
	podtable.CheckLeftAlone(t, given, pod)
}

// TestOneProfileOfTwoReleasesGivesOneSidecar has two releases that would both inject a pod.
func TestOneProfileOfTwoReleasesGivesOneSidecar(t *testing.T) {
	asIs := func(*chart.Chart) {}
	objects := append(release(t, "first", podtable.Library, asIs), release(t, "second", podtable.Library, asIs)...)
	for _, test := range podtable.Cases() {
		if test.Profile == podtable.Library && len(test.Refused) == 0 {
			tryCase(t, injectionCluster(t, objects), test)
		}
	}
}

// TestInjectedContainerIsTheIncludedOne compares with what the three lines of a user's own chart give.
func TestInjectedContainerIsTheIncludedOne(t *testing.T) {
	values := valueSets(t)["inject"]
	delete(values, "inject")
	included, _ := chartPod(t, values)
	pod, err := injectionCluster(t, twoReleases(t, func(*chart.Chart) {})).create(asPod(podtable.App(podtable.Library), "injected"))
	if err != nil {
		t.Fatal(err)
	}
	want, _ := sidecar(t, included)
	got, _ := sidecar(t, &core.PodTemplateSpec{Spec: pod.Spec})
	if len(want.EnvFrom) != 1 {
		t.Fatalf("the included one has envFrom %v", want.EnvFrom)
	}
	want.EnvFrom = nil // its settings are in a ConfigMap that other namespaces do not have
	got.Env = slices.DeleteFunc(got.Env, func(e core.EnvVar) bool { return e.Name == "SIDECAR_OCLC_INSTITUTION" })
	if !reflect.DeepEqual(got, want) {
		t.Errorf("injected\n%+v\nincluded\n%+v", got, want)
	}
	if !reflect.DeepEqual(pod.Spec.Volumes, included.Spec.Volumes) {
		t.Errorf("injected volumes %+v, included %+v", pod.Spec.Volumes, included.Spec.Volumes)
	}
}

// TestPodIsRefusedWhereTheBindingIsMissing takes the mutating policy of one release away, and its binding.
func TestPodIsRefusedWhereTheBindingIsMissing(t *testing.T) {
	for _, kind := range []string{"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"} {
		var rest []runtime.Object
		for _, object := range twoReleases(t, func(*chart.Chart) {}) {
			ofLibrary := strings.Contains(object.(meta.Object).GetName(), ".release-library.")
			if object.GetObjectKind().GroupVersionKind().Kind != kind || !ofLibrary {
				rest = append(rest, object)
			}
		}
		c := injectionCluster(t, rest)
		for _, test := range []podtable.Case{
			{Profile: podtable.Library, Refused: []string{podtable.Library, "injected", "MutatingAdmissionPolicy"}},
			{Profile: podtable.Library, Change: podtable.WithAll, Refused: []string{podtable.Library, "injected"}},
			{Profile: podtable.Other},
			{Profile: ""},
		} {
			tryCase(t, c, test)
		}
	}
}

// reports counts what is wrong in place of failing.
type reports struct{ list []string }

func (*reports) Helper()                        {}
func (r *reports) Errorf(f string, args ...any) { r.list = append(r.list, fmt.Sprintf(f, args...)) }
func (r *reports) Error(args ...any)            { r.list = append(r.list, fmt.Sprint(args...)) }

// TestMistakesInThePoliciesAreFound makes one mistake at a time in the templates, and wants the
// table of pods to find it.
func TestMistakesInThePoliciesAreFound(t *testing.T) {
	for name, edit := range map[string]struct{ file, old, new string }{
		"a misspelt field":             {"_sidecar.tpl", "imagePullPolicy:", "imagePulPolicy:"},
		"a port that is no number":     {"_sidecar.tpl", "containerPort: {{ $values.admin.port }}", `containerPort: "{{ $values.admin.port }}"`},
		"behind the init containers":   {"inject.yaml", `"/spec/initContainers/0"`, `"/spec/initContainers/-"`},
		"a container in place of list": {"inject.yaml", "dyn([variables.sidecar])", "variables.sidecar"},
		"in place of the init containers": {"inject.yaml", `has(object.spec.initContainers) ? "/spec/initContainers/0" : "/spec/initContainers"`,
			`"/spec/initContainers"`},
		"no native sidecar":            {"_sidecar.tpl", "restartPolicy: Always", "# no restartPolicy"},
		"again and again":              {"_inject.tpl", `c.name == "token-sidecar"`, `c.name == "tokens-sidecar"`},
		"the app's volumes are lost":   {"inject.yaml", `has(object.spec.volumes) ? "/spec/volumes/-" : "/spec/volumes"`, `"/spec/volumes"`},
		"a path that is not escaped":   {"inject.yaml", `"/metadata/labels/{{ $key | replace "/" "~1" }}"`, `"/metadata/labels/{{ $key }}"`},
		"the app's own URL is lost":    {"inject.yaml", "e.name ==", `"other" ==`},
		"the URL after the rest":       {"inject.yaml", `"/env/0"`, `"/env/-"`},
		"the drain takes all the time": {"_drain.tpl", "add $drain.delay $drain.margin 2", "add $drain.delay 0"},
		"the host's network":           {"_inject.tpl", "hostNetwork.orValue(false)", "hostPID.orValue(false)"},
		"each profile":                 {"inject.yaml", `"%s == %q" (include "token-sidecar.podProfile" .) $profile`, `"%s != %q" (include "token-sidecar.podProfile" .) ""`},
		"other profiles are judged":    {"inject-check.yaml", "variables.injected\n", "variables.injected || variables.profile != \"library\"\n"},
		"a mistake is let through":     {"inject-check.yaml", "validationActions: [Deny]", "validationActions: [Warn]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var found reports
			made := false
			objects := twoReleases(t, func(c *chart.Chart) { made = mistake(c, edit.file, edit.old, edit.new) })
			if !made {
				t.Fatalf("%s has no %q", edit.file, edit.old)
			}
			c := injectionCluster(t, objects)
			for _, test := range podtable.Cases() {
				tryCase(&found, c, test)
			}
			if len(found.list) == 0 {
				t.Error("nobody notices")
			}
		})
	}
}

// mistake replaces a text in a file of the chart, and says whether it was there.
func mistake(c *chart.Chart, file, old, new string) bool {
	for _, f := range c.Templates {
		if strings.HasSuffix(f.Name, "/"+file) && strings.Contains(string(f.Data), old) {
			f.Data = []byte(strings.ReplaceAll(string(f.Data), old, new))
			return true
		}
	}
	return false
}
