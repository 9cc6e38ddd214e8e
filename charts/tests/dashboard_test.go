package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type, AllValue string
			Query                any
			Datasource           struct{ Type, UID string }
		}
	}
	Panels []panel
}

type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ Type, UID string }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct {
				Mode  string
				Steps []struct {
					Color string
					Value *float64
				}
			}
		}
	}
	Targets []struct{ Expr, RefID string }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.NewDecoder(bytes.NewReader(read(t, chartDir+"/files/dashboard.json"))).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// plain puts values in the place of Grafana's variables.
func plain(expr string) string {
	return strings.NewReplacer("$namespace", ".*", "$upstream", ".*", "$__rate_interval", "15s", "$__range", "1m").Replace(expr)
}

func TestDashboardIsOneGrafanaTakes(t *testing.T) {
	d := readDashboard(t)
	if d.Title == "" || d.UID == "" || d.SchemaVersion < 38 {
		t.Errorf("title %q, uid %q, schema %d (Grafana 10 has 38 and 39)", d.Title, d.UID, d.SchemaVersion)
	}
	variables := map[string]bool{"__rate_interval": true, "__range": true}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		// Nothing scraped without Kubernetes has a namespace: .* takes a missing label too.
		if v.Type == "query" && (v.AllValue != ".*" || v.Datasource.UID != "${datasource}") {
			t.Errorf("variable %s: %+v", v.Name, v)
		}
	}
	for _, name := range []string{"datasource", "namespace", "upstream"} {
		if !variables[name] {
			t.Errorf("no variable %s", name)
		}
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its id is used, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q or leaves the grid", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" {
			checkPanel(t, p, variables)
		}
	}
}

func checkPanel(t *testing.T, p panel, variables map[string]bool) {
	t.Helper()
	defaults := p.FieldConfig.Defaults
	if p.Description == "" || defaults.Unit == "" || len(defaults.Thresholds.Steps) == 0 || len(p.Targets) == 0 {
		t.Errorf("panel %q lacks description, unit, thresholds or queries", p.Title)
	}
	if steps := defaults.Thresholds.Steps; len(steps) > 0 && steps[0].Value != nil {
		t.Errorf("panel %q: the first threshold is not the base", p.Title)
	}
	if p.Datasource.UID != "${datasource}" {
		t.Errorf("panel %q has a data source of its own", p.Title)
	}
	for _, target := range p.Targets {
		for _, m := range regexp.MustCompile(`\$(?:\{)?([a-z_]+)`).FindAllStringSubmatch(target.Expr, -1) {
			if !variables[m[1]] {
				t.Errorf("panel %q uses $%s", p.Title, m[1])
			}
		}
		if !strings.Contains(target.Expr, `namespace=~"$namespace"`) {
			t.Errorf("panel %q does not keep to the namespace: %s", p.Title, target.Expr)
		}
	}
}

// TestDashboardShowsWhatItShould has the list of topics.
func TestDashboardShowsWhatItShould(t *testing.T) {
	var all strings.Builder
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			all.WriteString(target.Expr + "\n")
		}
	}
	for _, series := range []string{"requests_total", `code=~"5.."`, "request_duration_seconds_bucket", "token_wait_seconds_sum",
		"token_wait_seconds_bucket", "token_expiry_seconds", "token_lookups_total", "tokens", "token_requests_total",
		"token_request_duration_seconds_bucket", "token_budget{", "token_budget_slots_total", "token_budget_waiting", "refreshes_total", "rejections_total", "redis_operations_total",
		"narrow_scope_total", "redirects_total", "secret_reloads_total", "build_info", "process_resident_memory_bytes", "process_cpu_seconds_total"} {
		if !strings.Contains(all.String(), series) {
			t.Errorf("no panel shows %s", series)
		}
	}
}

// TestDashboardExpressionsParse wraps them into rules, which promtool parses.
func TestDashboardExpressionsParse(t *testing.T) {
	var file strings.Builder
	file.WriteString("groups:\n- name: dashboard\n  rules:\n")
	n := 0
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			n++
			fmt.Fprintf(&file, "  - record: panel:%d\n    expr: %q\n", n, plain(target.Expr))
		}
	}
	path := t.TempDir() + "/dashboard.yaml"
	if err := os.WriteFile(path, []byte(file.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", path)
}
