package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// recordings are the series of a sidecar in trouble, as cmd/demo has written them down, and the alerts
// that are to fire at their end.
func recordings(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/recorded/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d recordings: %v", len(files), err)
	}
	return files
}

// TestTroublesFireTheirAlertsAndNoOthers asks the rules of what sidecars showed in each trouble of the
// game day, and with each broken set-up: after 20 minutes exactly the alerts of the recording fire, for
// exactly its APIs.
func TestTroublesFireTheirAlertsAndNoOthers(t *testing.T) {
	t.Parallel() // it mostly waits for other programs
	rulesFile, err := filepath.Abs(chartDir + "/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var tests []string
	for _, file := range recordings(t) {
		var recorded struct {
			Interval string
			Series   []map[string]string      `json:"input_series"`
			Alerts   []struct{ Alert string } `json:"alerts"`
		}
		if err := yaml.UnmarshalStrict(read(t, file), &recorded); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		// Prometheus adds these when it scrapes a pod.
		for _, s := range recorded.Series {
			s["series"] = withLabels(s["series"], `job="token-sidecar",namespace="demo",pod="a",instance="a:9090"`)
		}
		var fire []map[string]any
		for _, a := range recorded.Alerts {
			alert, upstream, _ := strings.Cut(a.Alert, " ")
			labels := fmt.Sprintf("{alertname=%q", "TokenSidecar"+alert)
			if upstream != "" {
				labels += fmt.Sprintf(",upstream=%q", upstream)
			}
			fire = append(fire, map[string]any{"labels": labels + "}", "value": 1})
		}
		text, err := yaml.Marshal(map[string]any{"rule_files": []string{rulesFile}, "evaluation_interval": "1m", "tests": []any{map[string]any{
			"name": filepath.Base(file), "interval": recorded.Interval, "input_series": recorded.Series,
			"promql_expr_test": []any{map[string]any{"eval_time": "19m", "exp_samples": fire,
				"expr": `group by (alertname, upstream) (ALERTS{alertstate="firing"})`}}}}})
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, path)
	}
	promtool(t, append([]string{"test", "rules"}, tests...)...)
}

// withLabels adds labels to those of a series.
func withLabels(series, labels string) string {
	name, rest, found := strings.Cut(series, "{")
	if !found {
		return series + "{" + labels + "}"
	}
	return name + "{" + labels + "," + rest
}
