package tests

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/yaml"

	"token-sidecar/charts/tests/podtable"
)

// injecting renders the chart for the release demo in the namespace shop with injection and OCLC.
func injecting(t *testing.T, more map[string]any) []runtime.Object {
	t.Helper()
	values := map[string]any{
		"inject":         map[string]any{"enabled": true},
		"existingSecret": "oclc",
		"settingsFrom":   map[string]any{"OCLC_WSKEY": map[string]any{}, "OCLC_SECRET": map[string]any{}},
	}
	maps.Copy(values, more)
	objects, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "other"} {
		objects = append(objects, &core.Namespace{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
			ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/metadata.name": name}}})
	}
	return objects
}

const defaultProfile = "demo-token-sidecar"

// injected creates the small app's pod in the namespace shop, changed if change is not nil.
func injected(t *testing.T, objects []runtime.Object, change func(*core.Pod)) (*core.Pod, error) {
	t.Helper()
	pod := asPod(podtable.App(defaultProfile), "shop")
	if change != nil {
		change(pod)
	}
	return newCluster(t, objects...).create(pod)
}

func TestByDefaultTheReleasesNamespaceIsInjected(t *testing.T) {
	c := newCluster(t, injecting(t, nil)...)
	given := podtable.App(defaultProfile)
	pod, err := c.create(asPod(given, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	podtable.Case{Profile: defaultProfile}.CheckInjected(t, given, pod)
	pod, err = c.create(asPod(given, "other"))
	if err != nil {
		t.Fatal(err)
	}
	podtable.CheckLeftAlone(t, given, pod)
}

// TestSettingsReachInjectedPodsAsTheyAre sets a value that YAML, CEL, JSON and the kubelet would each change.
func TestSettingsReachInjectedPodsAsTheyAre(t *testing.T) {
	const hostile = "a'b\"c\\d\\n\u00e9\U0001F600 <&> {{ x }} %q $(PATH) $$ `e` #f: - \u2028"
	objects := injecting(t, map[string]any{"settings": map[string]any{"MYDATAHELPS_AUDIENCE": hostile},
		"settingsFrom": map[string]any{"MYDATAHELPS_SERVICE_ACCOUNT": map[string]any{}, "MYDATAHELPS_PRIVATE_KEY": map[string]any{}},
		"inject":       map[string]any{"enabled": true, "env": map[string]any{"GREETING": hostile, "TOKEN_SIDECAR_URL": nil}}})
	pod, err := injected(t, objects, nil)
	if err != nil {
		t.Fatal(err)
	}
	env := pod.Spec.InitContainers[0].Env
	i := slices.IndexFunc(env, func(e core.EnvVar) bool { return e.Name == "SIDECAR_MYDATAHELPS_AUDIENCE" })
	// The kubelet writes $ for $$.
	if i < 0 || strings.ReplaceAll(env[i].Value, "$$", "$") != hostile || strings.Contains(strings.ReplaceAll(env[i].Value, "$$", ""), "$") {
		t.Errorf("environment of the sidecar: %q", env)
	}
	if want := []core.EnvVar{{Name: "GREETING", Value: hostile}}; !slices.Equal(pod.Spec.Containers[0].Env, want) {
		t.Errorf("environment of the app: %q", pod.Spec.Containers[0].Env)
	}
}

// TestSeveralVariablesReachTheApp gives three variables to containers with none, one and all of them.
func TestSeveralVariablesReachTheApp(t *testing.T) {
	objects := injecting(t, map[string]any{"inject": map[string]any{"enabled": true, "env": map[string]any{"A": "1", "B": "2"}}})
	own := []core.EnvVar{{Name: "B", Value: "mine"}, {Name: "C", Value: "3"}}
	pod, err := injected(t, objects, func(pod *core.Pod) {
		pod.Spec.InitContainers = []core.Container{{Name: "migrate", Image: "x", Env: own}}
	})
	if err != nil {
		t.Fatal(err)
	}
	value := func(c core.Container) map[string]string {
		all := map[string]string{}
		for _, e := range c.Env {
			if _, twice := all[e.Name]; twice {
				t.Errorf("%s has %s twice", c.Name, e.Name)
			}
			all[e.Name] = e.Value
		}
		return all
	}
	app, migrate := value(pod.Spec.Containers[0]), value(pod.Spec.InitContainers[1])
	if len(app) != 3 || app["A"] != "1" || app["B"] != "2" || app["TOKEN_SIDECAR_URL"] == "" {
		t.Errorf("app %v", app)
	}
	if len(migrate) != 4 || migrate["A"] != "1" || migrate["B"] != "mine" || migrate["C"] != "3" {
		t.Errorf("migrate %v", migrate)
	}
}

// TestInjectedDrainFitsThePod sets parts of the drain, and looks at what the pod's grace period must be.
func TestInjectedDrainFitsThePod(t *testing.T) {
	for _, c := range []struct {
		settings map[string]any
		grace    int64
		timeout  string // empty if the pod is refused
		needs    string
	}{
		{nil, 30, "25s", ""},
		{nil, 10, "5s", ""},
		{nil, 605, "600s", ""},
		{nil, 1_000_000_000_000, "600s", ""},
		{nil, 9, "", "needs 10 "},
		{map[string]any{"DRAIN_DELAY": "7s"}, 30, "18s", ""},
		{map[string]any{"DRAIN_DELAY": "7s"}, 16, "", "needs 17 "},
		{map[string]any{"DRAIN_TIMEOUT": "1m30s"}, 93, "1m30s", ""},
		{map[string]any{"DRAIN_TIMEOUT": "1m30s"}, 92, "", "needs 93 "},
		{map[string]any{"DRAIN_TIMEOUT": "1s"}, 4, "1s", ""},
	} {
		more := map[string]any{}
		if c.settings != nil {
			more["settings"] = c.settings
		}
		pod, err := injected(t, injecting(t, more), func(pod *core.Pod) { pod.Spec.TerminationGracePeriodSeconds = &c.grace })
		if c.timeout == "" {
			podtable.Case{Refused: []string{c.needs}}.CheckRefused(t, err)
			continue
		}
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		template := &core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
		env := environ(t, nil, template, t.TempDir())
		if got := env["SIDECAR_DRAIN_TIMEOUT"]; got != c.timeout {
			t.Errorf("%+v: SIDECAR_DRAIN_TIMEOUT is %s", c, got)
		}
		if fault := accepts(t, env); fault != "" {
			t.Errorf("%+v: %s", c, fault)
		}
	}
}

// TestInjectedPodsAreFound makes sure that what selects pods with the sidecar selects injected ones, in
// whatever namespace, and the example's.
func TestInjectedPodsAreFound(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		inject := map[string]any{"enabled": true}
		if elsewhere {
			inject["namespaceSelector"] = map[string]any{"matchLabels": map[string]any{"a": "b"}}
		}
		objects := injecting(t, map[string]any{"inject": inject, "podMonitor": map[string]any{"enabled": true}, "example": map[string]any{"enabled": true}})
		seen := false
		for _, object := range objects {
			monitor, ok := object.(*monitoring.PodMonitor)
			if !ok {
				continue
			}
			seen = true
			if got := monitor.Spec.Selector.MatchLabels; len(got) != 1 || got[podtable.Label] != defaultProfile {
				t.Errorf("the PodMonitor selects %v", got)
			}
			if monitor.Spec.NamespaceSelector.Any != elsewhere {
				t.Errorf("pods elsewhere: %v; the PodMonitor looks elsewhere: %v", elsewhere, monitor.Spec.NamespaceSelector.Any)
			}
		}
		if !seen {
			t.Fatal("no PodMonitor")
		}
		if onlyPod(t, objects).Labels[podtable.Label] != defaultProfile {
			t.Error("the example's pod is not found")
		}
	}
}

// docsFile decodes the documents' block that begins with the file's name.
func docsFile[T any](t *testing.T, file string) (object T) {
	t.Helper()
	for _, b := range blocks(t) {
		if b.file == file {
			if err := yaml.UnmarshalStrict([]byte(b.text), &object); err != nil {
				t.Fatal(err)
			}
			return object
		}
	}
	t.Fatalf("the documents have no %s", file)
	return object
}

func TestAnnotatedDeploymentOfTheDocsGetsTheSidecar(t *testing.T) {
	values, deployment := docsFile[map[string]any](t, "tokens.yaml"), docsFile[apps.Deployment](t, "annotated.yaml")
	objects, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	namespace := &core.Namespace{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta.ObjectMeta{Name: deployment.Namespace}}
	for _, b := range blocks(t) {
		if m := regexp.MustCompile(`kubectl label namespace (\S+) (\S+)=(\S+)`).FindStringSubmatch(b.text); m != nil && m[1] == namespace.Name {
			namespace.Labels = map[string]string{m[2]: m[3]}
		}
	}
	pod, err := newCluster(t, append(objects, namespace)...).create(asPod(&deployment.Spec.Template, namespace.Name))
	if err != nil {
		t.Fatal(err)
	}
	podtable.Case{Profile: "library"}.CheckInjected(t, &deployment.Spec.Template, pod)
	template := &core.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}
	checkSidecar(t, objects, template)
	if fault := accepts(t, environ(t, objects, template, t.TempDir())); fault != "" {
		t.Error(fault)
	}
}
