package soak

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// load is apps that use a sidecar on behalf of many subjects.
type load struct {
	t        *testing.T
	sidecar  *sidecar
	provider *provider
	client   *http.Client
	subjects int
	hot      int      // subjects that make up half of the requests
	answers  *scanner // what the app is told: heads, and problem documents
	number   atomic.Int64

	mu   sync.Mutex // guards seen
	seen result
}

// result is what became of requests.
type result struct {
	sent, missed int
	statuses     map[int]int
	took         []time.Duration
	faults       []string // the first few answers that must not be
}

const (
	// workers is how many requests are under way at most. All use one connection
	// each, so it bounds everything that grows with load.
	workers = 256
	// atOnce is how many are under way at most in a load at a rate, so that a slow
	// machine sends fewer of them instead of letting all wait for seconds.
	atOnce = 48
)

func newLoad(t *testing.T, s *sidecar, p *provider, subjects, hot int) *load {
	transport := &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &load{t: t, sidecar: s, provider: p, subjects: subjects, hot: hot, answers: newScanner("answers to the app"),
		client: &http.Client{Timeout: testkit.Patience, Transport: transport}}
}

// run sends rate requests a second until stop is closed, each at its moment
// unless all workers are busy, and waits for all answers.
func (l *load) run(rate int, stop <-chan struct{}) result {
	l.mu.Lock()
	l.seen = result{statuses: map[int]int{}}
	l.mu.Unlock()
	began, gap := time.Now(), time.Second/time.Duration(rate)
	var turn, missed atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for {
				at := began.Add(time.Duration(turn.Add(1)) * gap)
				if !sleep(stop, time.Until(at)) {
					return
				}
				if time.Since(at) > time.Second {
					missed.Add(1) // all were busy for long: no use in a burst
					continue
				}
				l.one()
			}
		})
	}
	all.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.missed = int(missed.Load())
	slices.Sort(l.seen.took)
	return l.seen
}

// runUntil is run until so many requests have been sent.
func (l *load) runUntil(rate, least int) result {
	begun := l.number.Load()
	return l.during(rate, func() {
		for l.number.Load() < begun+int64(least) {
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// during sends requests while f runs.
func (l *load) during(rate int, f func()) result {
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		f()
	}()
	return l.run(rate, stop)
}

// one sends a request of a random kind for a random subject.
func (l *load) one() {
	whose := subject(rand.IntN(l.subjects))
	if rand.IntN(2) == 0 {
		whose = subject(rand.IntN(l.hot))
	}
	n := l.number.Add(1)
	switch kind := rand.IntN(50); {
	case kind == 0:
		l.send(http.MethodPost, "/token/humanapi", whose, n, "")
	case kind < 10:
		l.send(http.MethodPost, fmt.Sprintf("/humanapi/v1/%s?q=%s&n=%d", canaryPath, canaryQuery, n), whose, n, canaryBody)
	case kind < 20:
		l.send(http.MethodGet, fmt.Sprintf("/humanapi/~%s/v1/%s?n=%d", url.PathEscape(whose), canaryPath, n), whose, n, "")
	default:
		l.send(http.MethodGet, fmt.Sprintf("/humanapi/v1/%s?q=%s&n=%d", canaryPath, canaryQuery, n), whose, n, "")
	}
}

// send sends a request and judges its answer.
func (l *load) send(method, path, whose string, n int64, body string) {
	req, err := http.NewRequest(method, "http://"+l.sidecar.data+path, strings.NewReader(body))
	if err != nil {
		l.t.Error(err)
		return
	}
	l.setHeader(req, whose)
	began := time.Now()
	req.Header.Set(sentHeader, strconv.FormatInt(began.UnixNano(), 10))
	res, err := l.client.Do(req)
	if err != nil {
		l.note(0, time.Since(began), fmt.Errorf("no answer: %w", err))
		return
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	took := time.Since(began)
	if err == nil {
		err = l.judge(res, string(text), path, whose, n, len(body), began)
	}
	l.note(res.StatusCode, took, err)
}

func (l *load) setHeader(req *http.Request, whose string) {
	req.Header.Set("X-Health", canaryField)
	req.Header.Set("X-Sidecar-Token", callerToken)
	if !strings.Contains(req.URL.Path, "/~") {
		req.Header.Set("X-Token-Subject", whose)
	}
}

// judge returns an error for an answer that this request must not get.
func (l *load) judge(res *http.Response, text, path, whose string, n int64, size int, sent time.Time) error {
	_, _ = fmt.Fprintf(l.answers, "%v %v\n", res.Header, res.Trailer)
	isProblem := res.Header.Get("Content-Type") == "application/problem+json"
	switch {
	case isProblem:
		_, _ = io.WriteString(l.answers, text)
		if (res.StatusCode == 503 && strings.Contains(text, `"token_unavailable"`)) ||
			(res.StatusCode == 502 && strings.Contains(text, `"target_unreachable"`)) {
			return nil
		}
	case path == "/token/humanapi":
		_, after, _ := strings.Cut(text, `"access_token":"`)
		token, _, _ := strings.Cut(after, `"`)
		if g, ok := l.provider.Issued(token); ok && g.Subject == whose && g.Expiry.After(sent) {
			return nil
		}
	case res.StatusCode == 200:
		if text == fmt.Sprintf("%s %d %d %s", whose, n, size, canaryAnswer) {
			return nil
		}
	case (res.StatusCode == 401 || res.StatusCode == 500) && text == canaryAnswer+"\n":
		return nil
	}
	return fmt.Errorf("request %d for %s got status %d and %q", n, whose, res.StatusCode, text)
}

func (l *load) note(status int, took time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen.sent++
	l.seen.statuses[status]++
	l.seen.took = append(l.seen.took, took)
	if err != nil && len(l.seen.faults) < 10 {
		l.seen.faults = append(l.seen.faults, err.Error())
	}
}

// at returns the time that a share of the requests took at most.
func (r result) at(share float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[min(int(share*float64(len(r.took))), len(r.took)-1)].Round(10 * time.Microsecond)
}

func (r result) String() string {
	return fmt.Sprintf("%d requests (%d not sent in time), statuses %v, p50 %s, p99 %s, slowest %s",
		r.sent, r.missed, r.statuses, r.at(.5), r.at(.99), r.at(1))
}
