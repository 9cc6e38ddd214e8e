package tests

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type rule struct {
	Alert, Record, Expr, For string
	Labels, Annotations      map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	if err := yaml.UnmarshalStrict(read(t, chartDir+"/files/rules.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

func alertRules(t *testing.T) []rule {
	t.Helper()
	return slices.DeleteFunc(rules(t), func(r rule) bool { return r.Alert == "" })
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(tool(t, "promtool", "prometheus"), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesPassPromtool(t *testing.T) {
	promtool(t, "check", "rules", chartDir+"/files/rules.yaml")
}

func TestRulesFireAndStayQuiet(t *testing.T) {
	t.Parallel() // it mostly waits for other programs
	promtool(t, "test", "rules", "testdata/rules_test.yaml")

	var file struct {
		Tests []struct {
			Cases []struct {
				Name   string `json:"alertname"`
				Alerts []struct {
					Labels map[string]string `json:"exp_labels"`
				} `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal(read(t, "testdata/rules_test.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			if len(c.Alerts) == 0 {
				quiet[c.Name] = true
			}
			for _, alert := range c.Alerts {
				fires[c.Name+" "+alert.Labels["severity"]] = true
			}
		}
	}
	for _, r := range alertRules(t) {
		if !fires[r.Alert+" "+r.Labels["severity"]] {
			t.Errorf("no test lets %s (%s) fire", r.Alert, r.Labels["severity"])
		}
		if !quiet[r.Alert] {
			t.Errorf("no test has %s quiet", r.Alert)
		}
	}
}

// TestAlertsAreExplained ties each alert to its section of the runbook, and
// each section to an alert.
func TestAlertsAreExplained(t *testing.T) {
	runbook := string(read(t, root+"/docs/runbook.md"))
	sections := map[string]string{}
	parts := regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatchIndex(runbook, -1)
	for i, m := range parts {
		end := len(runbook)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		sections[runbook[m[2]:m[3]]] = runbook[m[1]:end]
	}
	named := map[string]bool{}
	for _, r := range alertRules(t) {
		named[r.Alert] = true
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s lacks summary, description or severity", r.Alert)
		}
		if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %s, not %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		for _, part := range []string{"**What it means.**", "**How to see.**", "**What to do.**"} {
			if !strings.Contains(sections[r.Alert], part) {
				t.Errorf("the runbook's section %s has no %s", r.Alert, part)
			}
		}
	}
	for name := range sections {
		if strings.HasPrefix(name, "TokenSidecar") && !named[name] {
			t.Errorf("the runbook explains %s, which is no alert", name)
		}
	}
}

// TestSeriesExist finds every series of the program that a rule, a panel or
// the runbook names among those that its source makes.
func TestSeriesExist(t *testing.T) {
	source := ""
	files, _ := filepath.Glob(root + "/metrics/*.go")
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			source += string(read(t, file))
		}
	}
	made := map[string]bool{}
	for _, m := range regexp.MustCompile(`"_?([a-z][a-z_]+)"`).FindAllStringSubmatch(source, -1) {
		made[m[1]] = true
	}
	// Not ours are the names of recording rules, which have a colon.
	series := regexp.MustCompile(`(?:^|[^:a-z_/-])token_sidecar_([a-z_]+)`)
	for _, name := range []string{chartDir + "/files/rules.yaml", chartDir + "/files/dashboard.json",
		root + "/docs/runbook.md", root + "/docs/kubernetes.md"} {
		found := series.FindAllStringSubmatch(string(read(t, name)), -1)
		for _, m := range found {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m[1], "")
			if !made[base] {
				t.Errorf("%s: there is no series token_sidecar_%s", name, m[1])
			}
		}
		if len(found) == 0 && strings.Contains(name, "files/") {
			t.Error(fmt.Sprint("found no series in ", name))
		}
	}
}
