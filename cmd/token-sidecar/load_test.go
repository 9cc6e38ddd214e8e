package main_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// metric returns the sum of the samples of a series whose labels include all
// of labels, each written as name="value".
func (p *process) metric(name string, labels ...string) float64 {
	p.t.Helper()
	a, err := p.admin("/metrics")
	if err != nil || a.status != http.StatusOK {
		p.t.Fatalf("GET /metrics: status %d, error %v", a.status, err)
	}
	sum := 0.0
	lines := bufio.NewScanner(strings.NewReader(a.body))
next:
	for lines.Scan() {
		series, value, _ := strings.Cut(lines.Text(), " ")
		base, set, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(","+strings.TrimSuffix(set, "}")+",", ","+label+",") {
				continue next
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			p.t.Fatalf("sample %q of %s: %v", value, name, err)
		}
		sum += v
	}
	return sum
}

// load sends rate requests a second for a time, each at its moment whether or
// not the ones before are answered, and returns how many were sent and the
// first few that went wrong.
func (p *process) load(rate int, length time.Duration, path string) (sent int, faults []string) {
	var bad atomic.Int32
	var mu sync.Mutex // guards faults
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); sent++ {
		<-tick.C
		all.Go(func() {
			if err := p.expectOK(path); err != nil && bad.Add(1) <= 5 {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, err.Error())
			}
		})
	}
	all.Wait()
	return sent, faults
}

func (p *process) expectOK(path string) error {
	res, err := p.client.Get("http://" + p.addrs["data"] + path)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("status %d: %s", res.StatusCode, body))
	}
	return err
}

// Tokens that live as short as 2 s are replaced without one request waiting.
func TestNoRequestWaitsOverFiveLifetimes(t *testing.T) {
	const life, lives = 2 * time.Second, 5
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: life})
	p := start(t, &books.secrets, books.environ("SIDECAR_LOG_LEVEL=info")...)
	p.mustGet(200, "/books/first")
	waitedBefore, slowBefore := p.waits()

	began := time.Now()
	sent, faults := p.load(200, lives*life, "/books/item")
	if took := time.Since(began); len(faults) > 0 || sent < 1000 {
		t.Fatalf("%d requests in %s, faults %q", sent, took, faults)
	}

	if waited, slow := p.waits(); waited != waitedBefore || slow != slowBefore {
		t.Errorf("%v requests waited for a token, %v of them more than 1 ms", waited-waitedBefore, slow-slowBefore)
	}
	if n := p.metric("token_sidecar_token_lookups_total", `result="failed"`); n != 0 {
		t.Errorf("%v requests got no token", n)
	}
	served := p.metric("token_sidecar_token_lookups_total", `result="fresh"`) + p.metric("token_sidecar_token_lookups_total", `result="stale"`)
	if served < float64(sent) {
		t.Errorf("%v of %d requests got their token from memory", served, sent)
	}
	if n := books.APIAnswers(http.StatusUnauthorized); n != 0 {
		t.Errorf("the target answered 401 %d times", n)
	}
	checkRhythm(t, books.TokenRequestLog(), life)
	t.Logf("%d requests, %d token requests", sent, books.TokenRequests())
}

// waits returns how many requests have waited for a token, and how many of
// them more than a millisecond.
func (p *process) waits() (all, slow float64) {
	p.t.Helper()
	const series = "token_sidecar_token_wait_seconds"
	slow = p.metric(series+"_count") - p.metric(series+"_bucket", `le="0.001"`)
	return p.metric("token_sidecar_token_lookups_total", `result="waited"`), slow
}

// checkRhythm wants one token request per life: none early, none twice.
func checkRhythm(t *testing.T, log []upstreamtest.TokenRequest, life time.Duration) {
	t.Helper()
	if len(log) < 5 {
		t.Errorf("%d token requests in more than five lives", len(log))
	}
	for i, r := range log {
		if r.Outcome != upstreamtest.OutcomeIssued {
			t.Errorf("token request %d: %s %s", i, r.Outcome, r.Reason)
		}
		if i == 0 {
			continue
		}
		if gap := r.Time.Sub(log[i-1].Time); gap < life*7/10 || gap > life {
			t.Errorf("token request %d came %s after the one before, want 0.7 to 1 of %s", i, gap, life)
		}
	}
}
