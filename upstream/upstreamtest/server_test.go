package upstreamtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// issue gets a token of a PDX server.
func issue(t *testing.T, s *upstreamtest.Server) string {
	t.Helper()
	return do(t, http.MethodPost, s.TokenURL(), pdxForm().Encode(), formHeader(encodedBasic(s))).text(t, "access_token")
}

func TestRevokedTokensAreRefused(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	one, two := issue(t, s), issue(t, s)
	if one == two {
		t.Fatal("one token issued twice")
	}
	if s.Revoke("x") || !s.Revoke(one) {
		t.Error("Revoke does not tell known from unknown tokens")
	}
	if res := call(t, s.APIURL(), one); res.status != 401 {
		t.Errorf("a revoked token got %d", res.status)
	}
	if g, ok := s.Issued(one); !ok || !g.Revoked || g.Serial != 1 {
		t.Errorf("Issued = %+v, %v", g, ok)
	}
	echo(t, s.APIURL(), two)
	if n := s.RevokeSubject("alice"); n != 0 {
		t.Errorf("revoked %d tokens of a stranger", n)
	}
	if n := s.RevokeAll(); n != 1 {
		t.Errorf("RevokeAll = %d, want the one that was left", n)
	}
	if res := call(t, s.APIURL(), two); res.status != 401 {
		t.Errorf("a revoked token got %d", res.status)
	}
	if s.APIRequests() != 3 || s.APIAnswers(401) != 2 || s.APIAnswers(200) != 1 {
		t.Errorf("counts: %d requests, %d of 401, %d of 200", s.APIRequests(), s.APIAnswers(401), s.APIAnswers(200))
	}
}

func TestTokensEndAfterTheirLife(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{Lifetime: 1900 * time.Millisecond})
	defer s.Close()
	token := issue(t, s)
	g, ok := s.Issued(token)
	if !ok || g.Expiry.Sub(g.Issued) != time.Second {
		t.Fatalf("Issued = %+v, want a life of whole seconds", g)
	}
	if res := call(t, s.APIURL(), token); res.status != 200 && time.Now().Before(g.Expiry) {
		t.Errorf("a token that has not expired got %d", res.status)
	}
	time.Sleep(time.Until(g.Expiry)) // real sockets keep a fake clock from moving
	if res := call(t, s.APIURL(), token); res.status != 401 {
		t.Errorf("an expired token got %d", res.status)
	}
	issue(t, s)
	if _, ok := s.Issued(token); ok {
		t.Error("the expired token is still remembered")
	}
}

func TestTokenLogIsExact(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	issue(t, s)
	e := s.TokenRequestLog()[0]
	want := "grant_type=client_credentials&scope=mydex%3Apdx+get%3A%2Fapi%2Fpds%2Fmam"
	if e.Body != want || e.Method != "POST" || e.Path != "/oauth2/token" || e.RawQuery != "" || int(e.ContentLength) != len(want) {
		t.Errorf("log %+v", e)
	}
	if got := e.Header.Values("Authorization"); !reflect.DeepEqual(got, []string{encodedBasic(s)}) {
		t.Errorf("Authorization %q", got)
	}
	if s.TokenRequestsFor("") != 1 || s.MaxConcurrent() != 1 {
		t.Errorf("%d for the client, %d at once", s.TokenRequestsFor(""), s.MaxConcurrent())
	}
}

func TestTokenFaultReplacesTheAnswer(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	s.SetTokenFault(func(r *http.Request, n int) *upstreamtest.Answer {
		if body, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(body), "grant_type=") {
			t.Errorf("the hook reads %q, %v", body, err)
		}
		switch n {
		case 1:
			return &upstreamtest.Answer{Status: 503, Header: http.Header{"Retry-After": {"7"}}, Body: "<html>"}
		case 2:
			return upstreamtest.OAuthError(400, "invalid_scope")
		}
		return nil
	})
	post := func() result {
		return do(t, http.MethodPost, s.TokenURL(), pdxForm().Encode(), formHeader(encodedBasic(s)))
	}
	if res := post(); res.status != 503 || res.header.Get("Retry-After") != "7" || res.body != "<html>" {
		t.Errorf("first: %+v", res)
	}
	wantLast(t, s, 503, upstreamtest.OutcomeFault)
	if res := post(); res.status != 400 || res.body != `{"error":"invalid_scope"}` {
		t.Errorf("second: %+v", res)
	}
	if res := post(); res.status != 200 {
		t.Errorf("third: %+v", res)
	}
}

func TestResetAndHangGiveNoAnswer(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	arrived := make(chan struct{})
	s.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		if r.URL.Path == "/reset" {
			return &upstreamtest.Answer{Reset: true}
		}
		close(arrived)
		return &upstreamtest.Answer{Hang: true}
	})
	c := client(t)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.APIURL()+"/reset", nil)
	if res, err := c.Do(req); !errors.Is(err, syscall.ECONNRESET) {
		if err == nil {
			_ = res.Body.Close()
		}
		t.Errorf("reset: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	req, _ = http.NewRequestWithContext(ctx, http.MethodPost, s.APIURL()+"/hang", strings.NewReader("body"))
	if res, err := c.Do(req); !errors.Is(err, context.Canceled) {
		if err == nil {
			_ = res.Body.Close()
		}
		t.Errorf("hang: %v", err)
	}
	s.Close() // a client may leave before its request is counted
	if s.APIAnswers(0) != 2 {
		t.Errorf("%d requests without an answer, want 2", s.APIAnswers(0))
	}
}

// Close must not wait for what a test has told the server to wait for.
func TestCloseEndsDelaysAndHangs(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	s.SetTokenDelay(time.Hour)
	arrived := make(chan struct{}, 2)
	s.SetTokenFault(func(_ *http.Request, n int) *upstreamtest.Answer {
		arrived <- struct{}{}
		if n == 1 {
			return &upstreamtest.Answer{Hang: true}
		}
		return nil
	})
	c := client(t)
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenURL(), strings.NewReader(pdxForm().Encode()))
			req.Header = formHeader(encodedBasic(s))
			if res, err := c.Do(req); err == nil {
				_ = res.Body.Close()
				t.Errorf("got an answer: %d", res.StatusCode)
			}
		})
	}
	<-arrived
	<-arrived
	s.Close()
	waiting.Wait()
	s.Close()
	if s.MaxConcurrent() != 2 {
		t.Errorf("MaxConcurrent = %d, want 2", s.MaxConcurrent())
	}
}

func TestHeadersForTheSidecarAreRefused(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	h := http.Header{"Authorization": {"Bearer " + issue(t, s)}, "X-Token-Subject": {"a"}, "X_sidecar_token": {"b"}}
	if res := do(t, http.MethodGet, s.APIURL(), "", h); res.status != 400 {
		t.Errorf("API answered %d", res.status)
	}
	if res := do(t, http.MethodPost, s.TokenURL(), "", http.Header{"X-Token-Scope": {"a"}}); res.status != 400 {
		t.Errorf("token endpoint answered %d", res.status)
	}
	want := []string{"X-Token-Scope", "X-Token-Subject", "X_sidecar_token"}
	if got := s.LeakedHeaders(); !reflect.DeepEqual(got, want) {
		t.Errorf("LeakedHeaders = %q, want %q", got, want)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	t.Run("all", func(t *testing.T) {
		for range 20 {
			t.Run("one", func(t *testing.T) {
				t.Parallel()
				echo(t, s.APIURL(), issue(t, s))
			})
		}
	})
	if s.TokenRequests() != 20 || s.APIAnswers(200) != 20 || len(s.TokenRequestLog()) != 20 {
		t.Errorf("%d token requests, %d answers", s.TokenRequests(), s.APIAnswers(200))
	}
}
