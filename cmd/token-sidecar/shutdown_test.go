package main_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// awaitRequests waits until the target of books has got n requests.
func awaitRequests(t *testing.T, books *provider, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d requests at the target", n), func() error {
		if got := books.APIRequests(); got < n {
			return fmt.Errorf("%d came", got)
		}
		return nil
	})
}

// refused fails the test unless connections to addr are refused.
func refused(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("connecting to %s after the end: %v, want connection refused", addr, err)
	}
}

func TestH1_RequestsUnderWayFinish(t *testing.T) {
	t.Parallel()
	const n = 100
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ()...)
	p.mustGet(200, "/books/first")
	books.SetAPIFault(func(*http.Request, int) *upstreamtest.Answer {
		return &upstreamtest.Answer{Delay: 2 * time.Second, Body: "whole"}
	})
	results := make(chan error, n)
	for range n {
		go func() {
			a, err := p.get("/books/slow")
			if err == nil && (a.status != 200 || a.body != "whole" || a.err != nil) {
				err = fmt.Errorf("status %d, body %q, %v", a.status, a.body, a.err)
			}
			results <- err
		}()
	}
	awaitRequests(t, books, n+1)
	p.signal(syscall.SIGTERM)
	for range n {
		if err := <-results; err != nil {
			t.Errorf("a request under way: %v", err)
		}
	}
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	refused(t, p.addrs["data"])
}

// streamer is a target that sends an event and then nothing, or nothing at all.
func streamer(t *testing.T) *httptest.Server {
	ended := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/events" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: first\n\n")
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-r.Context().Done():
		case <-ended:
		}
	}))
	t.Cleanup(func() { close(ended); s.Close() })
	return s
}

// What never ends by itself is cut after DRAIN_TIMEOUT, visibly.
func TestH2_DrainTimeoutCutsWhatHangs(t *testing.T) {
	t.Parallel()
	books, target := newProvider(t, upstreamtest.OAuth2Options{}), streamer(t)
	p := start(t, &books.secrets, append(books.environ(), "SIDECAR_OAUTH2_0_TARGET="+target.URL, "SIDECAR_DRAIN_TIMEOUT=1s")...)

	events, err := p.client.Get("http://" + p.addrs["data"] + "/books/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = events.Body.Close() }()
	first := make([]byte, len("data: first\n\n"))
	if _, err := io.ReadFull(events.Body, first); err != nil {
		t.Fatalf("first event: %v", err)
	}
	hung := make(chan error, 1)
	go func() {
		a, err := p.get("/books/hang")
		if err == nil && a.status == 200 {
			err = errors.New("status 200")
		} else {
			err = nil
		}
		hung <- err
	}()
	time.Sleep(200 * time.Millisecond) // so that the second request is under way

	began := time.Now()
	p.signal(syscall.SIGTERM)
	if _, err := io.ReadAll(events.Body); err == nil {
		t.Error("the cut stream looks whole to the client")
	}
	if err := <-hung; err != nil {
		t.Errorf("the hung request: %v", err)
	}
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("the end took %s, want a little more than the drain timeout of 1s", took)
	}
}

func TestDrainDelayKeepsServing(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ("SIDECAR_DRAIN_DELAY=2s")...)
	p.mustGet(200, "/books/first")
	if a, err := p.admin("/readyz"); err != nil || a.status != 200 {
		t.Fatalf("readyz before: %d, %v", a.status, err)
	}
	began := time.Now()
	p.signal(syscall.SIGTERM)
	testkit.Eventually(t, "readyz says 503", func() error {
		if a, err := p.admin("/readyz"); err != nil || a.status != 503 {
			return fmt.Errorf("%d, error %v", a.status, err)
		}
		return nil
	})
	for time.Since(began) < 1500*time.Millisecond {
		p.client.CloseIdleConnections() // new connections are served too
		p.mustGet(200, "/books/late")
		if a, err := p.admin("/livez"); err != nil || a.status != 200 {
			t.Fatalf("livez while draining: %d, %v", a.status, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it ended after %s, before the drain delay", took)
	}
	refused(t, p.addrs["data"])
}

// The end during a token request: whoever waits for it is served, and a
// refresh that nobody waits for is not waited for long.
func TestH9_EndDuringTokenRequest(t *testing.T) {
	t.Parallel()
	t.Run("waited for", func(t *testing.T) {
		t.Parallel()
		books := newProvider(t, upstreamtest.OAuth2Options{})
		books.SetTokenDelay(time.Second)
		p := start(t, &books.secrets, books.environ()...)
		result := make(chan answer, 1)
		go func() {
			a, err := p.get("/books/first")
			a.err = errors.Join(a.err, err)
			result <- a
		}()
		awaitTokenRequests(t, books, 1)
		time.Sleep(100 * time.Millisecond) // so that the request waits
		p.signal(syscall.SIGTERM)
		if a := <-result; a.status != 200 || a.err != nil {
			t.Errorf("status %d, error %v, body %s", a.status, a.err, a.body)
		}
		if code := p.AwaitExit(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
	t.Run("in the background", func(t *testing.T) {
		t.Parallel()
		books := newProvider(t, upstreamtest.OAuth2Options{})
		books.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { return &upstreamtest.Answer{Hang: true} })
		p := start(t, &books.secrets, books.environ()...)
		awaitTokenRequests(t, books, 1)
		p.signal(syscall.SIGTERM)
		if code := p.AwaitExit(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	})
}

func awaitTokenRequests(t *testing.T, books *provider, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%d token requests", n), func() error {
		if got := books.TokenRequests(); got < n {
			return fmt.Errorf("%d came", got)
		}
		return nil
	})
}

// A client that has gone when the end comes holds nothing up.
func TestEndAfterClientsLeft(t *testing.T) {
	t.Parallel()
	books, target := newProvider(t, upstreamtest.OAuth2Options{}), streamer(t)
	p := start(t, &books.secrets, append(books.environ(), "SIDECAR_OAUTH2_0_TARGET="+target.URL)...)
	ctx, leave := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer leave()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addrs["data"]+"/books/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.Do(req); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want the end of the client's patience", err)
	}
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
