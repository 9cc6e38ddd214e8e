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

// Case H1.
func TestRequestsUnderWayFinish(t *testing.T) {
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

// streamer is a target that sends an event and then nothing, or nothing at all. It
// says which request came.
func streamer(t *testing.T) (target *httptest.Server, came <-chan string) {
	ended, paths := make(chan struct{}), make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
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
	return s, paths
}

// What never ends by itself is cut after DRAIN_TIMEOUT, visibly.
//
// Case H2.
func TestDrainTimeoutCutsWhatHangs(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	target, came := streamer(t)
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
	for range 2 {
		<-came
	}

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
	if took := time.Since(began); took < time.Second {
		t.Errorf("the end took %s, want no less than the drain timeout of 1s", took)
	}
}

// A caller who signals again while requests are waited for does not
// want to wait.
//
// Case P15.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	for _, signals := range [][2]syscall.Signal{{syscall.SIGTERM, syscall.SIGTERM}, {syscall.SIGINT, syscall.SIGINT}, {syscall.SIGTERM, syscall.SIGINT}} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			books := newProvider(t, upstreamtest.OAuth2Options{})
			target, came := streamer(t)
			p := start(t, &books.secrets, append(books.environ(patientEnd...), "SIDECAR_OAUTH2_0_TARGET="+target.URL)...)
			hung := make(chan error, 1)
			go func() {
				_, err := p.get("/books/hang")
				hung <- err
			}()
			<-came
			p.signal(signals[0])
			testkit.Eventually(t, "readyz says 503", func() error {
				if a, err := p.admin("/readyz"); err != nil || a.status != 503 {
					return fmt.Errorf("%d, error %v", a.status, err)
				}
				return nil
			})
			p.signal(signals[1])
			if code := p.AwaitExit(t); code == 0 {
				t.Error("exit code 0, although a request was cut off")
			}
			if err := <-hung; err == nil {
				t.Error("the request that hung was answered")
			}
		})
	}
}

func TestDrainDelayKeepsServing(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	p := start(t, &books.secrets, books.environ("SIDECAR_DRAIN_DELAY=5s")...)
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
	for range 10 {
		p.client.CloseIdleConnections() // new connections are served too
		p.mustGet(200, "/books/late")
		if a, err := p.admin("/livez"); err != nil || a.status != 200 {
			t.Fatalf("livez while draining: %d, %v", a.status, err)
		}
	}
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("it ended after %s, before the drain delay", took)
	}
	refused(t, p.addrs["data"])
}

// patientEnd are settings under which an end that waits for anything outlasts the
// patience of the test.
var patientEnd = []string{"SIDECAR_DRAIN_TIMEOUT=10m", "SIDECAR_TOKEN_TIMEOUT=2m", "SIDECAR_TARGET_TIMEOUT=10m"}

// The end during a token request: whoever waits for it is served, and a
// refresh that nobody waits for is not waited for long.
//
// Case H9.
func TestEndDuringATokenRequestIsClean(t *testing.T) {
	t.Parallel()
	t.Run("waited for", func(t *testing.T) {
		t.Parallel()
		human, p := startHuman(t) // no token is loaded before somebody waits for it
		asked, ending := make(chan struct{}), make(chan struct{})
		human.SetTokenHold(func(context.Context, upstreamtest.TokenRequest) {
			close(asked)
			<-ending
		})
		result := make(chan answer, 1)
		go func() {
			a, err := p.get("/humanapi/v1/first", "X-Token-Subject", "somebody")
			a.err = errors.Join(a.err, err)
			result <- a
		}()
		<-asked
		p.signal(syscall.SIGTERM)
		testkit.Eventually(t, "it accepts no more", func() error {
			conn, err := net.Dial("tcp", p.addrs["data"])
			if err != nil {
				return nil
			}
			_ = conn.Close()
			return errors.New("it does")
		})
		close(ending)
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
		p := start(t, &books.secrets, books.environ(patientEnd...)...)
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

// A client that has gone when the end comes holds nothing up. (One that ends its connection before the
// sidecar looks, 20 ms behind its request or later on a busy machine, may have ended half of it, and
// is waited for.)
func TestClientsThatLeftDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	target, came := streamer(t)
	p := start(t, &books.secrets, append(books.environ(patientEnd...), "SIDECAR_OAUTH2_0_TARGET="+target.URL)...)
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-came
		time.Sleep(time.Second)
		leave()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addrs["data"]+"/books/hang", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that the client left", err)
	}
	p.signal(syscall.SIGTERM)
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
