package upstreamtest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// askHuman asks a Human API for the token of a user.
func askHuman(t *testing.T, s *upstreamtest.Server, id, secret, user string) result {
	t.Helper()
	body := `{"client_id":"` + id + `","client_secret":"` + secret + `","client_user_id":"` + user + `","type":"access"}`
	return do(t, http.MethodPost, s.TokenURL(), body, http.Header{"Content-Type": {"application/json"}})
}

// TestHoldKeepsAnswersBack lets no answer go before two requests have come, and
// looks at what the log says meanwhile.
func TestHoldKeepsAnswersBack(t *testing.T) {
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{})
	defer s.Close()
	var both sync.WaitGroup
	both.Add(2)
	var mu sync.Mutex // guards held
	var held []upstreamtest.TokenRequest
	s.SetTokenHold(func(_ context.Context, r upstreamtest.TokenRequest) {
		mu.Lock()
		held = append(held, r)
		mu.Unlock()
		both.Done()
		both.Wait()
	})
	var asking sync.WaitGroup
	for range 2 {
		asking.Go(func() {
			if res := askHuman(t, s, s.ClientID(), s.ClientSecret(), "alice"); res.status != 200 {
				t.Errorf("status %d", res.status)
			}
		})
	}
	asking.Wait()
	if len(held) != 2 || held[0].Number+held[1].Number != 3 || held[0].Subject != "alice" || !held[0].Done.IsZero() {
		t.Errorf("held %+v", held)
	}
	for _, r := range s.TokenRequestLog() {
		if r.Done.Before(r.Time) {
			t.Errorf("request %d is not done", r.Number)
		}
	}
}

// TestCloseEndsHolds closes the server while it holds an answer back.
func TestCloseEndsHolds(t *testing.T) {
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{})
	s.SetTokenHold(func(ctx context.Context, _ upstreamtest.TokenRequest) {
		go s.Close()
		<-ctx.Done()
	})
	res, err := client(t).Post(s.TokenURL(), "application/json", strings.NewReader("{}"))
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
	}
	s.Close() // waits for the handler
}

// TestHumanAPIRemembersAsMuchAsAsked has two clients, tokens in the form of the test, one of
// which has expired, and a short log.
func TestHumanAPIRemembersAsMuchAsAsked(t *testing.T) {
	n := 0
	s := upstreamtest.NewHumanAPI(upstreamtest.Options{Lifetime: time.Second, KeepExpired: true, LogSize: 2,
		KnowsClient: func(id, secret string) bool { return id == "other" && secret == "word" },
		NewToken:    func() string { n++; return "mine-" + strings.Repeat("i", n) }})
	defer s.Close()
	first := askHuman(t, s, s.ClientID(), s.ClientSecret(), "alice").text(t, "access_token")
	second := askHuman(t, s, "other", "word", "alice").text(t, "access_token")
	if res := askHuman(t, s, "other", s.ClientSecret(), "alice"); res.status != 401 {
		t.Errorf("a client with the other's secret got %d", res.status)
	}
	g, _ := s.Issued(first)
	time.Sleep(time.Until(g.Expiry))
	askHuman(t, s, s.ClientID(), s.ClientSecret(), "bob")
	g, known := s.Issued(first)
	if !known || first != "mine-i" || g.Number != 1 || g.Client != s.ClientID() || g.Secret != s.ClientSecret() {
		t.Errorf("%s was issued: %t, %+v", first, known, g)
	}
	if g, _ := s.Issued(second); g.Number != 2 || g.Serial != 2 || g.Client != "other" || g.Secret != "word" || g.Subject != "alice" {
		t.Errorf("%s is %+v", second, g)
	}
	if log := s.TokenRequestLog(); len(log) != 2 || log[0].Number != 3 || log[1].Subject != "bob" || log[1].Number != 1 {
		t.Errorf("log %+v", log)
	}
	if all := s.IssuedTokens(); len(all) != 3 || all[0] != first {
		t.Errorf("remembered: %q", all)
	}
}

// TestConnectionsAreCut has a client that must connect anew.
func TestConnectionsAreCut(t *testing.T) {
	s := upstreamtest.NewPDX(upstreamtest.Options{})
	defer s.Close()
	c := client(t)
	for range 2 {
		res, err := c.Get(s.APIURL())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		s.CloseClientConnections()
		for deadline := time.Now().Add(time.Minute); s.Connections() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a connection is still there")
			}
		}
	}
}
