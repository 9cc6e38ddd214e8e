package tests

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	apps "k8s.io/api/apps/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// block is one fenced block of a document.
type block struct {
	language string
	file     string // that its first line names in a comment
	text     string
}

var (
	fence     = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")
	firstLine = regexp.MustCompile(`\A# (\S+\.yaml)\n`)
)

// blocks are those of docs/kubernetes.md.
func blocks(t *testing.T) []block {
	t.Helper()
	text := string(read(t, root+"/docs/kubernetes.md"))
	var all []block
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		b := block{language: m[1], text: m[2]}
		if name := firstLine.FindStringSubmatch(b.text); name != nil {
			b.file = name[1]
		}
		all = append(all, b)
	}
	if len(all) < 15 {
		t.Fatalf("only %d blocks", len(all))
	}
	return all
}

func TestDocsKnowEveryBlock(t *testing.T) {
	for _, b := range blocks(t) {
		switch {
		case b.language == "sh":
		case b.language == "yaml" && (b.file == "" || b.file == "values.yaml" || b.file == "Chart.yaml"):
		case b.file == "tokens.yaml" || b.file == "annotated.yaml":
			// TestAnnotatedDeploymentOfTheDocsGetsTheSidecar installs the one and creates the other.
		case strings.HasPrefix(b.file, "templates/"):
			// docsChart takes all of them.
		case b.file != "" && b.text == string(read(t, kustomizeDir+"/example/"+b.file)):
			// The tests of the component build that overlay.
		default:
			t.Errorf("nothing checks the block\n%s", b.text)
		}
	}
}

// docsChart is the chart that a reader has after copying the blocks, without what is for clusters before
// Kubernetes 1.29.
func docsChart(t *testing.T) *chart.Chart {
	t.Helper()
	return docsChartOf(t, func(file string) bool { return !strings.HasSuffix(file, "-classic.yaml") })
}

// docsChartOf is that chart with those templates that take says.
func docsChartOf(t *testing.T, take func(file string) bool) *chart.Chart {
	t.Helper()
	c := &chart.Chart{Metadata: &chart.Metadata{}}
	for _, b := range blocks(t) {
		switch {
		case b.file == "Chart.yaml":
			if err := yaml.UnmarshalStrict([]byte(b.text), c.Metadata); err != nil {
				t.Fatal(err)
			}
		case strings.HasPrefix(b.file, "templates/") && take(b.file):
			c.Templates = append(c.Templates, &chart.File{Name: b.file, Data: []byte(b.text)})
		}
	}
	sub := sidecarChart(t)
	if len(c.Metadata.Dependencies) != 1 || c.Metadata.Dependencies[0].Version != sub.Metadata.Version {
		t.Fatalf("dependencies %+v, the chart has version %s", c.Metadata.Dependencies, sub.Metadata.Version)
	}
	c.SetDependencies(sub)
	return c
}

// docsValues are the values.yaml blocks. Later ones add to the first, which configures an API.
func docsValues(t *testing.T) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, b := range blocks(t) {
		if b.file == "values.yaml" {
			var values map[string]any
			if err := yaml.UnmarshalStrict([]byte(b.text), &values); err != nil {
				t.Fatalf("%v in\n%s", err, b.text)
			}
			sub := values["token-sidecar"].(map[string]any)
			if _, ok := sub["settingsFrom"]; !ok {
				first := all[0]["token-sidecar"].(map[string]any)
				sub["settingsFrom"], sub["existingSecret"] = first["settingsFrom"], first["existingSecret"]
			}
			all = append(all, values)
		}
	}
	return all
}

func TestChartOfTheDocsRenders(t *testing.T) {
	for i, values := range docsValues(t) {
		sub := values["token-sidecar"].(map[string]any)
		text, err := renderText(docsChart(t), values, kubeVersion)
		if err != nil {
			t.Errorf("values.yaml %d: %v", i, err)
			continue
		}
		objects := decode(t, text)
		if n := len(pods(objects)); n != 3 {
			t.Errorf("%d pods, want those of a Deployment, a Job and a CronJob", n)
		}
		if sub["terminationGracePeriodSeconds"] == nil {
			checkPod(t, objects)
		}
		checkAccepted(t, objects)
	}
}

// checkAccepted makes sure that the program accepts the environment that each pod gives it.
func checkAccepted(t *testing.T, objects []runtime.Object) {
	t.Helper()
	for _, pod := range pods(objects) {
		if fault := accepts(t, environ(t, objects, pod, t.TempDir())); fault != "" {
			t.Error(fault)
		}
	}
}

// docsManifests are the manifests for those without Helm.
func docsManifests(t *testing.T) []runtime.Object {
	t.Helper()
	var objects []runtime.Object
	for _, b := range blocks(t) {
		if b.language == "yaml" && b.file == "" {
			objects = append(objects, decode(t, b.text)...)
		}
	}
	return objects
}

func TestManifestsOfTheDocsAreValid(t *testing.T) {
	objects := docsManifests(t)
	checkPod(t, objects)
	checkAccepted(t, objects)

	// They say the same as the chart, which people compare.
	text, err := renderText(docsChart(t), docsValues(t)[0], kubeVersion)
	if err != nil {
		t.Fatal(err)
	}
	byChart := &named[*apps.Deployment](t, decode(t, text), "shop").Spec.Template
	theirs, _ := sidecar(t, byChart)
	if n := len(pods(objects)); n != 3 {
		t.Errorf("%d pods, want those of a Deployment, a Job and a CronJob", n)
	}
	for _, pod := range pods(objects) {
		ours, _ := sidecar(t, pod)
		theirs.EnvFrom = ours.EnvFrom // the ConfigMap's name has the release's in it
		if !reflect.DeepEqual(ours, theirs) {
			a, _ := yaml.Marshal(theirs)
			b, _ := yaml.Marshal(ours)
			t.Errorf("the manifest's container is not the chart's: %s", firstDifference(string(a), string(b)))
		}
		if !reflect.DeepEqual(pod.Spec.Volumes, byChart.Spec.Volumes) {
			t.Error("the manifest's volumes are not the chart's")
		}
	}
}

// externalSecret is as much of external-secrets.io/v1 as the documents use.
type externalSecret struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		RefreshInterval string                      `json:"refreshInterval"`
		SecretStoreRef  struct{ Name, Kind string } `json:"secretStoreRef"`
		Target          struct{ Name string }       `json:"target"`
		Data            []struct {
			SecretKey string                         `json:"secretKey"`
			RemoteRef struct{ Key, Property string } `json:"remoteRef"`
		} `json:"data"`
	} `json:"spec"`
}

func (e *externalSecret) DeepCopyObject() runtime.Object { c := *e; return &c }
