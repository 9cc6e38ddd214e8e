package main_test

import (
	"bufio"
	"context"
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

	"token-sidecar/cmd/internal/testkit"
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

// load sends n requests, rate of them a second, whether or not the ones before are
// answered, and returns the first few faults.
func (p *process) load(n, rate int, path string) (faults []string) {
	var bad atomic.Int32
	var mu sync.Mutex // guards faults
	var all sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for range n {
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
	return faults
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

// earliest is when a token may be replaced: the last fifth of its life, varied by a
// fifth.
func earliest(life time.Duration) time.Duration { return life * 76 / 100 }

// TestShortTokensServeWithoutFault uses tokens that live as short as 2 s, for five lives. The
// sidecar gives none out in the last tenth of its life, so one that the target finds expired
// belongs to a request that took longer than that: where the machine stands still.
func TestShortTokensServeWithoutFault(t *testing.T) {
	t.Parallel()
	const life, requests = 2 * time.Second, 1000
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: life})
	began := time.Now()
	p := start(t, &books.secrets, books.environ("SIDECAR_LOG_LEVEL=info")...)
	if faults := p.load(requests, 100, "/books/item"); len(faults) > 0 {
		t.Fatalf("faults %q", faults)
	}
	const took = "token_sidecar_request_duration_seconds"
	late := int(p.metric(took+"_count") - p.metric(took+"_bucket", `le="0.1"`)) // of those that took life / 10, and some more
	if n := books.APIAnswers(http.StatusUnauthorized); n > late {
		t.Errorf("the target answered 401 %d times, and %d requests took over 0.1 s", n, late)
	}
	log := books.TokenRequestLog()
	for i, r := range log {
		if r.Outcome != upstreamtest.OutcomeIssued {
			t.Errorf("token request %d: %s %s", i, r.Outcome, r.Reason)
		}
	}
	// However slow the machine: each replacement begins that long after the one before.
	if most := 1 + int(time.Since(began)/earliest(life)); len(log) > most || len(log) < 2 {
		t.Errorf("%d token requests, want 2 to %d", len(log), most)
	}
	waited, slow := p.waits()
	t.Logf("%d requests, %d token requests; %v waited for a token, %v more than 1 ms", requests, len(log), waited, slow)
}

// TestNoRequestWaitsForAReplacement has the token endpoint not answer when the token
// is to be replaced, which is well ahead of its end: the app does not notice.
func TestNoRequestWaitsForAReplacement(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{Lifetime: 20 * time.Second})
	asked := make(chan struct{})
	books.SetTokenHold(func(ctx context.Context, r upstreamtest.TokenRequest) {
		if r.Number == 2 {
			close(asked)
			<-ctx.Done()
		}
	})
	p := start(t, &books.secrets, books.environ()...)
	first := p.mustGet(200, "/books/item")
	before, _ := p.waits()
	select {
	case <-asked:
	case <-time.After(testkit.Patience):
		t.Fatal("the token is not replaced")
	}
	if a := p.mustGet(200, "/books/item"); a.body != first.body {
		t.Errorf("during the replacement the target saw %s, want %s", a.body, first.body)
	}
	if after, _ := p.waits(); after != before {
		t.Errorf("%v requests waited for a token", after-before)
	}
}

// waits returns how many requests have waited for a token, and how many of
// them more than a millisecond.
func (p *process) waits() (all, slow float64) {
	p.t.Helper()
	const series = "token_sidecar_token_wait_seconds"
	slow = p.metric(series+"_count") - p.metric(series+"_bucket", `le="0.001"`)
	return p.metric("token_sidecar_token_lookups_total", `result="waited"`), slow
}
