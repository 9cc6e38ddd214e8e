package metrics_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/metrics"
)

func scrape(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	return w.Body.String()
}

// TestSeriesThatOperatorsRelyOn names every series once as it is shown: alerts
// and dashboards break when one is renamed.
func TestSeriesThatOperatorsRelyOn(t *testing.T) {
	m := metrics.New("1.2.3")
	m.CollectTokens(func() []metrics.Tokens {
		return []metrics.Tokens{{Upstream: "pdx", Fresh: 1, Stale: 2, Invalid: 3, HasPinned: true, PinnedLife: 90 * time.Second},
			{Upstream: "oclc", HasPinned: true, PinnedLife: -time.Second}, {Upstream: "humanapi"}}
	})
	u := m.Upstream("pdx")
	u.Request("GET", 200, "", 20*time.Millisecond, "")
	u.Request("GET", 502, "target_unreachable", time.Millisecond, "")
	u.Request("GET", 502, "", time.Millisecond, "")
	u.Request("BREW", 999, "", time.Millisecond, "")
	u.TargetAnswered(time.Millisecond)
	u.Fresh.Inc()
	u.Waited.Inc()
	u.TokenWait(t.Context(), 30*time.Millisecond)
	u.TokenRequest("ok", time.Second)
	u.Refresh(true)
	u.Rejection("replaced")
	u.NarrowScope()
	u.UnaskedBytes()
	u.TargetFailed("dns_error")
	u.ClockSkew(-time.Minute)
	m.ExpectAudit()
	m.AuditLines("failed", 2)
	m.CollectConnections(func() []metrics.Connections {
		return []metrics.Connections{{Upstream: "pdx", InUse: 1, Idle: 2, Shared: 3, Opened: 9, Distrusted: true}, {Upstream: "oclc"}}
	})
	u.Redirect("own")
	budget := u.Budget(9)
	budget.Waiting.Add(3)
	budget.Slot("put_off")
	m.ExpectRedis()
	m.RedisOperation("get", "miss")
	m.SecretReload(false, 2)
	m.LogDropped(7)
	if atOnce, all := m.Lookups("pdx"); atOnce != 1 || all != 2 {
		t.Errorf("%d of %d look-ups were at once", atOnce, all)
	}
	text := scrape(t, m)
	for _, line := range []string{
		`token_sidecar_requests_total{code="200",method="GET",problem="",upstream="pdx"} 1`,
		`token_sidecar_requests_total{code="502",method="GET",problem="target_unreachable",upstream="pdx"} 1`,
		`token_sidecar_requests_total{code="502",method="GET",problem="",upstream="pdx"} 1`,
		`token_sidecar_requests_total{code="other",method="other",problem="",upstream="pdx"} 1`,
		`token_sidecar_request_duration_seconds_count{upstream="pdx"} 4`,
		`token_sidecar_target_duration_seconds_count{upstream="pdx"} 1`,
		`token_sidecar_token_requests_total{outcome="malformed",upstream="pdx"} 0`,
		`token_sidecar_token_requests_total{outcome="credential",upstream="pdx"} 0`,
		`token_sidecar_redis_operations_total{operation="get",outcome="error"} 0`,
		`token_sidecar_redis_operations_total{operation="get",outcome="invalid"} 0`,
		`token_sidecar_redis_operations_total{operation="acquire",outcome="skipped"} 0`,
		`token_sidecar_redis_operations_total{operation="store",outcome="error"} 0`,
		`token_sidecar_redis_operations_total{operation="add",outcome="ok"} 0`,
		`token_sidecar_rejections_total{action="failed",upstream="pdx"} 0`,
		`token_sidecar_refreshes_total{outcome="failed",upstream="pdx"} 0`,
		`token_sidecar_secret_reloads_total{outcome="ok"} 0`,
		`token_sidecar_token_lookups_total{result="fresh",upstream="pdx"} 1`,
		`token_sidecar_token_lookups_total{result="stale",upstream="pdx"} 0`,
		`token_sidecar_token_lookups_total{result="waited",upstream="pdx"} 1`,
		`token_sidecar_token_lookups_total{result="failed",upstream="pdx"} 0`,
		`token_sidecar_token_wait_seconds_bucket{upstream="pdx",le="0.05"} 1`,
		`token_sidecar_token_requests_total{outcome="ok",upstream="pdx"} 1`,
		`token_sidecar_token_request_duration_seconds_count{upstream="pdx"} 1`,
		`token_sidecar_refreshes_total{outcome="ok",upstream="pdx"} 1`,
		`token_sidecar_rejections_total{action="replaced",upstream="pdx"} 1`,
		`token_sidecar_narrow_scope_total{upstream="pdx"} 1`,
		`token_sidecar_target_unasked_bytes_total{upstream="pdx"} 1`,
		`token_sidecar_target_failures_total{cause="dns_error",upstream="pdx"} 1`,
		`token_sidecar_target_failures_total{cause="connection_refused",upstream="pdx"} 0`,
		`token_sidecar_clock_skew_seconds{upstream="pdx"} -60`,
		`token_sidecar_audit_lines_total{outcome="failed"} 2`,
		`token_sidecar_audit_lines_total{outcome="dropped"} 0`,
		`token_sidecar_target_connections{state="in_use",upstream="pdx"} 1`,
		`token_sidecar_target_connections{state="idle",upstream="pdx"} 2`,
		`token_sidecar_target_connections{state="shared",upstream="pdx"} 3`,
		`token_sidecar_target_connections_opened_total{upstream="pdx"} 9`,
		`token_sidecar_target_distrusted{upstream="pdx"} 1`,
		`token_sidecar_target_distrusted{upstream="oclc"} 0`,
		`token_sidecar_redirects_total{to="own",upstream="pdx"} 1`,
		`token_sidecar_token_budget{upstream="pdx"} 9`,
		`token_sidecar_token_budget_waiting{upstream="pdx"} 3`,
		`token_sidecar_token_budget_slots_total{outcome="put_off",upstream="pdx"} 1`,
		`token_sidecar_token_budget_slots_total{outcome="now",upstream="pdx"} 0`,
		`token_sidecar_token_budget_slots_total{outcome="later",upstream="pdx"} 0`,
		`token_sidecar_token_budget_slots_total{outcome="deferred",upstream="pdx"} 0`,
		`token_sidecar_token_budget_slots_total{outcome="stopped",upstream="pdx"} 0`,
		`token_sidecar_token_budget_slots_total{outcome="without",upstream="pdx"} 0`,
		`token_sidecar_redirects_total{to="foreign",upstream="pdx"} 0`,
		`token_sidecar_redirects_total{to="refused",upstream="pdx"} 0`,
		`token_sidecar_redis_operations_total{operation="get",outcome="miss"} 1`,
		`token_sidecar_secret_reloads_total{outcome="failed"} 1`,
		`token_sidecar_secrets_not_taken 2`,
		`token_sidecar_log_lines_dropped_total 7`,
		`token_sidecar_tokens{state="fresh",upstream="pdx"} 1`,
		`token_sidecar_tokens{state="stale",upstream="pdx"} 2`,
		`token_sidecar_tokens{state="invalid",upstream="pdx"} 3`,
		`token_sidecar_token_expiry_seconds{upstream="pdx"} 90`,
		`token_sidecar_token_expiry_seconds{upstream="oclc"} 0`,
		`token_sidecar_build_info{`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("not there: %s", line)
		}
	}
	if strings.Contains(text, `token_expiry_seconds{upstream="humanapi"}`) {
		t.Error("an expiry without a pinned token")
	}
}

// TestTracesAreExemplars asks for OpenMetrics, as a Prometheus does that keeps exemplars.
func TestTracesAreExemplars(t *testing.T) {
	m := metrics.New("test")
	u, id := m.Upstream("pdx"), strings.Repeat("ab", 16)
	u.Request("GET", 200, "", 20*time.Millisecond, id)
	u.TokenWait(metrics.WithTraceID(t.Context(), id), 30*time.Millisecond)
	u.TokenWait(t.Context(), 3*time.Second)
	r, w := httptest.NewRequest("GET", "/metrics", nil), httptest.NewRecorder()
	r.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	m.Handler().ServeHTTP(w, r)
	for _, line := range []string{`token_sidecar_request_duration_seconds_bucket{upstream="pdx",le="0.025"} 1 # {trace_id="` + id + `"} 0.02`,
		`token_sidecar_token_wait_seconds_bucket{upstream="pdx",le="0.05"} 1 # {trace_id="` + id + `"} 0.03`, "\n# EOF"} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("not there: %s", line)
		}
	}
	if n := strings.Count(w.Body.String(), "trace_id"); n != 2 {
		t.Errorf("%d exemplars", n)
	}
}

// TestLabelsComeFromFixedSets counts requests of every kind a client or a
// target can make up.
//
// Case J5.
func TestLabelsComeFromFixedSets(t *testing.T) {
	m := metrics.New("test")
	u := m.Upstream("pdx")
	fill := func(n int) int {
		for i := range n {
			u.Request(fmt.Sprint("M", i), i%2000, "", time.Millisecond, "")
		}
		return strings.Count(scrape(t, m), "\n")
	}
	before := fill(2000)
	if after := fill(100_000); after != before {
		t.Errorf("%d lines grew to %d", before, after)
	}
}

// TestManyScrapesDelayNoRequest has no more than a few at a time, each whole.
//
// Case J10.
func TestManyScrapesDelayNoRequest(t *testing.T) {
	m := metrics.New("test")
	var walks, most int
	var mu sync.Mutex // guards the two
	m.CollectTokens(func() []metrics.Tokens {
		mu.Lock()
		walks++
		most = max(most, walks)
		mu.Unlock()
		time.Sleep(time.Millisecond) // a walk through a large cache
		mu.Lock()
		walks--
		mu.Unlock()
		return nil
	})
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			res, err := http.Get(server.URL)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			whole := strings.Contains(string(body), "token_sidecar_build_info")
			if err != nil || (res.StatusCode == 200) != whole || (!whole && res.StatusCode != http.StatusServiceUnavailable) {
				t.Errorf("%d, whole: %v, %v", res.StatusCode, whole, err)
			}
		})
	}
	all.Wait()
	if most != 1 {
		t.Errorf("%d walks through the cache at a time", most)
	}
}

// TestSeriesOfAlertsExistBeforeTheFirstEvent has an upstream that nothing happened to:
// an increase is seen only of a series that was there before.
func TestSeriesOfAlertsExistBeforeTheFirstEvent(t *testing.T) {
	m := metrics.New("1.2.3")
	m.Upstream("pdx")
	text := scrape(t, m)
	for _, line := range []string{
		`token_sidecar_requests_total{code="200",method="GET",problem="",upstream="pdx"} 0`,
		`token_sidecar_token_lookups_total{result="waited",upstream="pdx"} 0`,
		`token_sidecar_token_requests_total{outcome="credential",upstream="pdx"} 0`,
		`token_sidecar_refreshes_total{outcome="ok",upstream="pdx"} 0`,
		`token_sidecar_rejections_total{action="replaced",upstream="pdx"} 0`,
		`token_sidecar_narrow_scope_total{upstream="pdx"} 0`,
		`token_sidecar_secret_reloads_total{outcome="failed"} 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no %s", line)
		}
	}
	if strings.Contains(text, "token_sidecar_redis_operations_total{") {
		t.Error("there are series of a Redis that is not used")
	}
}
