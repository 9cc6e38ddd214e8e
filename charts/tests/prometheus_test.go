package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mayBeEmpty are the queries that give nothing here, and why. They may give
// something.
var mayBeEmpty = map[string]string{
	"alert TokenSidecarRedisValuesInvalid": "nobody writes foreign values",
	"alert TokenSidecarScopeRefused":       "no provider refuses a scope",
	"alert TokenSidecarAuditFails":         "every line of the audit can be written",
	"alert TokenSidecarBudgetSpent":        "there is no Redis to keep the budget",
	"alert TokenSidecarBudgetStopped":      "there is no Redis to keep the budget",
}

// TestExpressionsOnARealPrometheus scrapes the real program under load, with
// providers that work, wait, fail, refuse and reject, and asks every
// expression of the rules and the dashboard.
func TestExpressionsOnARealPrometheus(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	t.Parallel() // it mostly waits for other programs
	prometheus := tool(t, "prometheus", "prometheus")
	refusing := &provider{life: 2}
	p := startUnderLoad(t, refusing)
	api := startPrometheus(t, prometheus, strings.TrimPrefix(p.admin, "http://"))
	eventually(t, func() error {
		some, err := ask(api, `token_sidecar_token_requests_total{outcome="credential"}`)
		if err == nil && !some {
			err = errors.New("nothing was scraped")
		}
		return err
	})
	refusing.setSecret("another") // only now: an increase shows where a scrape has seen the count before it

	queries := map[string]string{}
	for _, r := range rules(t) {
		if r.Alert != "" {
			queries["alert "+r.Alert+severityOf(r)] = r.Expr
		} else {
			queries["record "+r.Record] = r.Record
		}
	}
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			queries["panel "+panel.Title+" "+target.RefID] = plain(target.Expr)
		}
	}
	eventually(t, func() error {
		for _, name := range slices.Sorted(maps.Keys(queries)) {
			some, err := ask(api, queries[name])
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if some {
				delete(queries, name) // once is enough: refusals are retried ever more slowly
			}
		}
		for name := range queries {
			if mayBeEmpty[name] == "" {
				return fmt.Errorf("no data for %q", slices.Sorted(maps.Keys(queries)))
			}
		}
		return nil
	})
	for name, why := range mayBeEmpty {
		if _, ok := queries[name]; !ok {
			t.Logf("%s gave data, though %s", name, why)
		}
	}
}

func severityOf(r rule) string {
	if r.Alert == "TokenSidecarRequestsWait" {
		return " " + r.Labels["severity"]
	}
	return ""
}

// startUnderLoad starts the program and keeps asking it until the test ends. One of its
// providers is refusing, which will refuse its secret.
func startUnderLoad(t *testing.T, refusing *provider) *process {
	t.Helper()
	providers := []struct {
		name string
		*provider
	}{
		{"works", &provider{life: 4}},
		{"slow", &provider{life: 1, delay: 300 * time.Millisecond}},
		{"fails", &provider{status: 500}},
		{"refuses", refusing},
		{"rejects", &provider{life: 60, deaf: true}},
		{"narrows", &provider{life: 4, scope: "read"}},
		{"gone", &provider{life: 60}},
	}
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, "made-up")
	env := map[string]string{"SIDECAR_LISTEN": "127.0.0.1:0", "SIDECAR_ADMIN_LISTEN": "127.0.0.1:0",
		// Nobody listens there.
		"SIDECAR_REDIS_URL": "redis://127.0.0.1:1", "SIDECAR_REDIS_KEYS": strings.TrimSpace(madeUp(t, "REDIS_KEYS")),
		"SIDECAR_OAUTH2_0_TOKEN_BUDGET": "9/s", "SIDECAR_AUDIT": "stdout", "SIDECAR_AUDIT_KEY": strings.TrimSpace(madeUp(t, "REDIS_KEYS"))}
	for i, it := range providers {
		server := httptest.NewServer(it.provider)
		t.Cleanup(server.Close)
		maps.Copy(env, providerEnv(i, it.name, server.URL))
		env[fmt.Sprintf("SIDECAR_OAUTH2_%d_CLIENT_SECRET_FILE", i)] = secret
		env[fmt.Sprintf("SIDECAR_OAUTH2_%d_SCOPE", i)] = "read write"
		if it.name == "gone" {
			env[fmt.Sprintf("SIDECAR_OAUTH2_%d_TARGET", i)] = "http://127.0.0.1:1" // nobody listens there either
		}
	}
	p := start(t, exec.Command(binary(t)), env)

	ctx, cancel := context.WithCancel(context.Background())
	var load sync.WaitGroup
	for _, it := range providers {
		load.Go(func() {
			for ctx.Err() == nil {
				_, _, _ = get(p.data + "/" + it.name + "/things")
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		load.Wait()
	})
	// Too long to be a secret: it is not taken.
	write(t, secret, strings.Repeat("x", 65<<10))
	return p
}

// startPrometheus returns the base URL of one that scrapes target each second.
func startPrometheus(t *testing.T, path, target string) string {
	t.Helper()
	dir := t.TempDir()
	rulesFile, err := filepath.Abs(chartDir + "/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/prometheus.yml", fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: shop/token-sidecar
    static_configs:
      - targets: [%q]
        labels: {namespace: shop, pod: shop-1}
`, rulesFile, target))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	log, err := os.Create(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--config.file", dir+"/prometheus.yml", "--storage.tsdb.path", dir+"/data",
		"--web.listen-address", address, "--log.level", "warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", read(t, dir+"/log"))
		}
	})
	eventually(t, func() error {
		status, _, err := get("http://" + address + "/-/ready")
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
	return "http://" + address
}

// ask reports whether the query gives a number.
func ask(api, query string) (bool, error) {
	_, body, err := get(api + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return false, err
	}
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		return false, fmt.Errorf("%s %w: %s", answer.Error, err, query)
	}
	for _, sample := range answer.Data.Result {
		text, _ := sample.Value[1].(string)
		if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) {
			return true, nil
		}
	}
	return false, nil
}
