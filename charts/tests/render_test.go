package tests

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// kubeVersion is the version of the API types in go.mod.
const kubeVersion = "v1.37.2"

// sidecarChart loads the chart. Each call returns a chart of its own:
// rendering changes it.
func sidecarChart(t *testing.T) *chart.Chart {
	t.Helper()
	loaded, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

// render renders the chart by itself and decodes what comes out.
func render(t *testing.T, values map[string]any) ([]runtime.Object, error) {
	t.Helper()
	text, err := renderText(sidecarChart(t), values, kubeVersion)
	if err != nil {
		return nil, err
	}
	return decode(t, text), nil
}

// renderText renders a chart for the release demo in the namespace shop.
func renderText(c *chart.Chart, values map[string]any, kube string) (string, error) {
	return renderRelease(c, values, kube, "demo", "shop")
}

// renderRelease renders a chart as helm template does, schema included, in the
// order of the files' names, NOTES.txt last.
func renderRelease(c *chart.Chart, values map[string]any, kube, name, namespace string) (string, error) {
	capabilities := chartutil.DefaultCapabilities.Copy()
	version, err := chartutil.ParseKubeVersion(kube)
	if err != nil {
		return "", err
	}
	capabilities.KubeVersion = *version
	if err := chartutil.ProcessDependenciesWithMerge(c, values); err != nil {
		return "", err
	}
	release := chartutil.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, capabilities)
	if err != nil {
		return "", err
	}
	rendered, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return "", err
	}
	var manifests, notes strings.Builder
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		text := strings.TrimSpace(rendered[name])
		switch {
		case strings.HasSuffix(name, "NOTES.txt"):
			notes.WriteString("# NOTES\n#   " + strings.ReplaceAll(text, "\n", "\n#   ") + "\n")
		case strings.HasSuffix(name, ".tpl") || text == "":
		default:
			fmt.Fprintf(&manifests, "---\n# Source: %s\n%s\n", name, text)
		}
	}
	return manifests.String() + "---\n" + notes.String(), nil
}

// kinds are the types that manifests are decoded into.
var kinds = sync.OnceValue(func() map[string]func() runtime.Object {
	return map[string]func() runtime.Object{
		"v1 ConfigMap":                          func() runtime.Object { return &core.ConfigMap{} },
		"v1 Secret":                             func() runtime.Object { return &core.Secret{} },
		"v1 Service":                            func() runtime.Object { return &core.Service{} },
		"v1 Pod":                                func() runtime.Object { return &core.Pod{} },
		"external-secrets.io/v1 ExternalSecret": func() runtime.Object { return &externalSecret{} },
		"v1 Namespace":                          func() runtime.Object { return &core.Namespace{} },
		"apps/v1 Deployment":                    func() runtime.Object { return &apps.Deployment{} },
		"admissionregistration.k8s.io/v1 MutatingAdmissionPolicy":          func() runtime.Object { return &admission.MutatingAdmissionPolicy{} },
		"admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding":   func() runtime.Object { return &admission.MutatingAdmissionPolicyBinding{} },
		"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":        func() runtime.Object { return &admission.ValidatingAdmissionPolicy{} },
		"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": func() runtime.Object { return &admission.ValidatingAdmissionPolicyBinding{} },
		"networking.k8s.io/v1 NetworkPolicy":                               func() runtime.Object { return &networking.NetworkPolicy{} },
		"monitoring.coreos.com/v1 PodMonitor":                              func() runtime.Object { return &monitoring.PodMonitor{} },
		"monitoring.coreos.com/v1 PrometheusRule":                          func() runtime.Object { return &monitoring.PrometheusRule{} },
		"apps/v1 StatefulSet":                                              func() runtime.Object { return &apps.StatefulSet{} },
		"apps/v1 DaemonSet":                                                func() runtime.Object { return &apps.DaemonSet{} },
		"batch/v1 Job":                                                     func() runtime.Object { return &batch.Job{} },
		"batch/v1 CronJob":                                                 func() runtime.Object { return &batch.CronJob{} },
		"monitoring.coreos.com/v1 ServiceMonitor":                          func() runtime.Object { return &monitoring.ServiceMonitor{} },
	}
})

// decode decodes manifests strictly: an unknown or repeated field is a fault.
func decode(t *testing.T, text string) []runtime.Object {
	t.Helper()
	var objects []runtime.Object
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		var head meta.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if head == (meta.TypeMeta{}) {
			continue // comments only
		}
		make, ok := kinds()[head.APIVersion+" "+head.Kind]
		if !ok {
			t.Fatalf("a manifest of unknown kind %+v", head)
		}
		object := make()
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Fatalf("%s: %v in\n%s", head.Kind, err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

// valueSets are the files of testdata/values by name; "defaults" is none.
func valueSets(t *testing.T) map[string]map[string]any {
	t.Helper()
	sets := map[string]map[string]any{"defaults": {}}
	files, _ := filepath.Glob("testdata/values/*.yaml")
	for _, file := range files {
		values, err := chartutil.ReadValuesFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sets[strings.TrimSuffix(filepath.Base(file), ".yaml")] = values
	}
	if len(sets) < 9 {
		t.Fatalf("only %d value sets", len(sets))
	}
	return sets
}

func TestChartPassesStrictLint(t *testing.T) {
	version, err := chartutil.ParseKubeVersion(kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range valueSets(t) {
		// With strict, a warning is a failure. No icon is worth no more than a word.
		for _, m := range lint.AllWithKubeVersion(chartDir, values, "shop", version).Messages {
			if m.Severity >= support.WarningSev {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestManifestsAreAsReviewed(t *testing.T) {
	for name, values := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			text, err := renderText(sidecarChart(t), values, kubeVersion)
			if err != nil {
				t.Fatal(err)
			}
			decode(t, text)
			compare(t, "testdata/golden/"+name+".yaml", []byte(shorten(t, text)))
		})
	}
	used, _ := filepath.Glob("testdata/golden/*.yaml")
	for _, file := range used {
		if _, ok := valueSets(t)[strings.TrimSuffix(filepath.Base(file), ".yaml")]; !ok && !strings.Contains(file, "parent") {
			t.Errorf("%s has no value set", file)
		}
	}
}

// shorten leaves out of golden files what stands in a file of its own.
func shorten(t *testing.T, text string) string {
	for _, name := range []string{"rules.yaml", "dashboard.json", "example.py"} {
		lines := strings.Split(strings.TrimSpace(string(read(t, chartDir+"/files/"+name))), "\n")
		for _, indent := range []string{"  ", "    "} {
			block := ""
			for _, line := range lines {
				block += indent + line + "\n"
			}
			// Helm's indent leaves blanks on empty lines.
			text = strings.Replace(text+"\n", block, indent+"(files/"+name+")\n", 1)
			text = strings.TrimSuffix(text, "\n")
		}
	}
	return text
}

func firstDifference(old, new string) string {
	a, b := strings.Split(old, "\n"), strings.Split(new, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "(end)", "(end)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, x, y)
		}
	}
	return ""
}

// parent is a user's own chart with this one as a dependency, in the three
// lines that docs/kubernetes.md promises.
func parent(t *testing.T, alias string) *chart.Chart {
	t.Helper()
	return parentOf(t, sidecarChart(t), alias)
}

// parentOf is the same with another version of this chart.
func parentOf(t *testing.T, sub *chart.Chart, alias string) *chart.Chart {
	t.Helper()
	dependency := &chart.Dependency{Name: "token-sidecar", Version: sub.Metadata.Version, Alias: alias}
	c := &chart.Chart{
		Metadata: &chart.Metadata{APIVersion: "v2", Name: "shop", Version: "1.0.0", Dependencies: []*chart.Dependency{dependency}},
	}
	for _, file := range []string{"templates/deployment.yaml", "templates/cronjob.yaml"} {
		text := string(read(t, "testdata/parent/"+file))
		for _, name := range []string{"annotations", "initContainer", "volumes"} {
			if line := fmt.Sprintf(`include "token-sidecar.%s" `, name); alias != "" {
				text = strings.Replace(text, line+".", line+".Subcharts."+alias, 1)
			}
		}
		c.Templates = append(c.Templates, &chart.File{Name: file, Data: []byte(text)})
	}
	c.SetDependencies(sub)
	return c
}

// parentValues are values of the user's own chart, where key is the dependency's name or alias.
func parentValues(key string) map[string]any {
	return map[string]any{key: map[string]any{
		"existingSecret": "oclc",
		"settings":       map[string]any{"OCLC_INSTITUTION": 128807},
		"settingsFrom":   map[string]any{"OCLC_WSKEY": map[string]any{}, "OCLC_SECRET": map[string]any{}},
	}}
}

func TestChartServesAsADependency(t *testing.T) {
	text, err := renderText(parent(t, ""), parentValues("token-sidecar"), kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "testdata/golden/parent.yaml", []byte(text))
	checkPod(t, decode(t, text))
	if n := len(pods(decode(t, text))); n != 2 {
		t.Errorf("%d pods, want those of a Deployment and a CronJob", n)
	}

	aliased, err := renderText(parent(t, "tokens"), parentValues("tokens"), kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	checkPod(t, decode(t, aliased))
	if strings.Contains(aliased, "demo-token-sidecar") || !strings.Contains(aliased, "demo-tokens") {
		t.Error("with an alias the objects are not named by it")
	}
}

func TestThreeLinesAreEnough(t *testing.T) {
	for _, name := range []string{"deployment", "cronjob"} {
		text := string(read(t, "testdata/parent/templates/"+name+".yaml"))
		if n := strings.Count(text, "token-sidecar"); n != 3 {
			t.Errorf("in a %s the sidecar takes %d lines", name, n)
		}
	}
}
