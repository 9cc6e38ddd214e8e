package tests

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// then is the folder of the earlier chart, to render what is kept of it anew.
var then = flag.String("then", "", "folder of the earlier chart, of which testdata/upgrade is rendered anew")

// earlier is the subject of the commit that users come from. It was chosen as the last one before the work on the
// sidecar by annotation began: git log -- charts/token-sidecar/templates/inject.yaml has the first commit of that, and
// between both the chart is the same.
const earlier = "config: faults of a client certificate come in one order"

// upgradePage says what users have to do.
const upgradePage = root + "/docs/upgrade.md"

// upgrade is a release that was installed by the earlier chart. testdata/upgrade has its values and,
// in a file of its name, what the earlier chart made of them.
type upgrade struct {
	name     string
	release  string
	own      bool   // the user's own chart, with this one as a dependency
	values   string // file of the values
	restarts bool   // pods are replaced although image and values are the same
	moves    string // what the page calls the change, if objects have other names now
}

var upgrades = []upgrade{
	{name: "shop", release: "demo", own: true, values: "shop"},
	{name: "trial", release: "demo", values: "trial", restarts: true},
	{name: "classic", release: "demo", values: "classic"},
	{name: "long", release: "a-release-whose-name-is-as-long-as-helm-lets-it-be-53", values: "trial", restarts: true, moves: "longer than 63 characters"},
}

// render renders the values by the chart in a folder, as it is installed or upgraded in place with the
// same image.
func (u upgrade) render(t *testing.T, dir string) string {
	t.Helper()
	c, err := loader.LoadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Metadata.Version, c.Metadata.AppVersion = "0.1.0", "0.1.0" // another image replaces pods in any case
	if u.own {
		c = parentOf(t, c, "")
	}
	values, err := chartutil.ReadValuesFile("testdata/upgrade/" + u.values + ".values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := renderRelease(c, values, kubeVersion, u.release, "shop")
	if err != nil {
		t.Fatalf("today's chart refuses the values %s, which the earlier one takes: %v", u.values, err)
	}
	return withoutLongTexts(text[:strings.Index(text, "---\n# NOTES")])
}

// withoutLongTexts leaves out what no upgrade depends on: the dashboard, and the example's program.
func withoutLongTexts(text string) string {
	for _, name := range []string{"token-sidecar.json", "app.py"} {
		text = regexp.MustCompile(`(?m)^(  `+regexp.QuoteMeta(name)+`: \|-\n)(    .*\n| *\n)+`).ReplaceAllString(text, "$1    (files)\n")
	}
	return text
}

// TestUpgradeIsFromTheEarlierChart writes what the earlier chart renders, if -then says where that is.
func TestUpgradeIsFromTheEarlierChart(t *testing.T) {
	for _, u := range upgrades {
		path := "testdata/upgrade/" + u.name + ".yaml"
		if *then != "" {
			text := "# Rendered by the chart of the commit \"" + earlier + "\"; see upgrade_test.go.\n" + u.render(t, *then)
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(string(read(t, path)), earlier) {
			t.Errorf("%s does not say that it is of the commit %q", path, earlier)
		}
	}
	if files, _ := filepath.Glob("testdata/upgrade/*.yaml"); len(files) != 7 {
		t.Errorf("%d files in testdata/upgrade", len(files))
	}
}

// TestUpgradeInPlace compares what the earlier chart rendered with what today's makes of the same values.
func TestUpgradeInPlace(t *testing.T) {
	page := string(read(t, upgradePage))
	for _, u := range upgrades {
		t.Run(u.name, func(t *testing.T) {
			before, after := objectsByName(t, string(read(t, "testdata/upgrade/"+u.name+".yaml"))), objectsByName(t, u.render(t, chartDir))
			if u.moves != "" {
				if !strings.Contains(page, u.moves) || maps.EqualFunc(before, after, func(a, b *unstructured.Unstructured) bool { return true }) {
					t.Errorf("objects have other names now, and the page says so: %q", u.moves)
				}
			} else {
				checkNamesStay(t, page, before, after)
			}
			for name, old := range before {
				if now, ok := after[name]; ok {
					checkImmutable(t, name, old, now)
				}
			}
			checkSelected(t, before, after)
			checkPods(t, u, podsByName(t, before), podsByName(t, after))
		})
	}
}

// TestOldNamesCanBeKept holds what the page says about long names.
func TestOldNamesCanBeKept(t *testing.T) {
	before := objectsByName(t, string(read(t, "testdata/upgrade/long.yaml")))
	var old string
	for _, o := range before {
		if o.GetKind() == "NetworkPolicy" {
			old = o.GetName()
		}
	}
	if len(old) != 63 {
		t.Errorf("the old name is %q", old)
	}
	values, err := chartutil.ReadValuesFile("testdata/upgrade/trial.values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	values["fullnameOverride"] = old
	text, err := renderRelease(sidecarChart(t), values, kubeVersion, upgrades[3].release, "shop")
	if err != nil {
		t.Fatal(err)
	}
	checkNamesStay(t, "", before, objectsByName(t, text[:strings.Index(text, "---\n# NOTES")]))
}

// objectsByName are the objects of manifests by version, kind and name.
func objectsByName(t *testing.T, text string) map[string]*unstructured.Unstructured {
	t.Helper()
	all := map[string]*unstructured.Unstructured{}
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.Object == nil {
			continue
		}
		name := o.GetAPIVersion() + " " + o.GetKind() + " " + o.GetName()
		if all[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		all[name] = o
	}
	if len(all) < 4 {
		t.Errorf("only %d objects", len(all))
	}
	return all
}

// checkNamesStay holds that no object is gone or new, unless the page names it.
func checkNamesStay(t *testing.T, page string, before, after map[string]*unstructured.Unstructured) {
	for _, way := range []struct {
		says     string
		from, to map[string]*unstructured.Unstructured
	}{{"gone", before, after}, {"new", after, before}} {
		for name, o := range way.from {
			if way.to[name] == nil && !strings.Contains(page, "`"+o.GetKind()+" "+o.GetName()+"`") {
				t.Errorf("%s is %s, and docs/upgrade.md does not name it", name, way.says)
			}
		}
	}
}

// immutable are fields that the API server does not let an update change, by kind. The chart has only some of these
// kinds; the others are for what it may get.
var immutable = map[string][]string{
	"Deployment":            {"spec.selector"},
	"DaemonSet":             {"spec.selector"},
	"StatefulSet":           {"spec.selector", "spec.serviceName", "spec.volumeClaimTemplates", "spec.podManagementPolicy"},
	"Job":                   {"spec.selector", "spec.template", "spec.completions", "spec.completionMode"},
	"PersistentVolumeClaim": {"spec.accessModes", "spec.storageClassName", "spec.volumeName"},
	"Service":               {"spec.clusterIP", "spec.ipFamilies"},
	"Secret":                {"type", "immutable"},
	"ConfigMap":             {"immutable"},
	"RoleBinding":           {"roleRef"},
	"ClusterRoleBinding":    {"roleRef"},
}

func checkImmutable(t *testing.T, name string, old, now *unstructured.Unstructured) {
	t.Helper()
	for _, path := range immutable[old.GetKind()] {
		a, _, _ := unstructured.NestedFieldNoCopy(old.Object, strings.Split(path, ".")...)
		b, _, _ := unstructured.NestedFieldNoCopy(now.Object, strings.Split(path, ".")...)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s cannot be changed in place, and is %v, then %v", name, path, a, b)
		}
	}
}
