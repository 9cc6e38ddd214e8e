package soak

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

const (
	clientID     = "soak-client-id"
	clientSecret = canarySecret + "-and-the-rest"
	callerToken  = canaryCaller + "-and-the-rest"
)

// provider is a simulated Human API that knows every subject, and the target that
// takes its tokens.
type provider struct {
	*upstreamtest.Server
	life   time.Duration
	target *httptest.Server

	tokenFault  atomic.Pointer[fault] // nil: none
	targetFault atomic.Pointer[fault]
	house       atomic.Pointer[barrier] // nil: nobody waits

	mu    sync.Mutex // guards wrong and late
	wrong []string   // what a request to the target should never be
	late  int        // requests whose token expired on the way
}

func newProvider(t *testing.T, life time.Duration) *provider {
	p := &provider{life: life, Server: upstreamtest.NewHumanAPI(upstreamtest.Options{Lifetime: life,
		ClientID: clientID, ClientSecret: clientSecret, NewToken: newToken, KeepExpired: true})}
	p.SetTokenFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		f := p.tokenFault.Load()
		if !f.strikes() {
			return nil
		}
		var asked struct {
			Subject string `json:"client_user_id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&asked)
		return f.tokenAnswer(asked.Subject)
	})
	p.target = httptest.NewServer(http.HandlerFunc(p.serveTarget))
	t.Cleanup(func() {
		p.target.CloseClientConnections()
		p.target.Close()
		p.Close()
	})
	return p
}

// subject returns the name of the nth subject.
func subject(n int) string { return fmt.Sprintf("%s@%06d", canarySubject, n) }

// newToken returns a token that begins and ends with a canary.
func newToken() string {
	return strings.Join([]string{canaryHead, rand.Text(), rand.Text(), canaryTail}, ".")
}

// serveTarget answers whose token came with which request.
func (p *provider) serveTarget(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	whose := p.judge(r, now)
	body, _ := io.ReadAll(r.Body)
	if f := p.targetFault.Load(); f.strikes() && f.failTarget(w, r) {
		return
	}
	if house := p.house.Load(); house != nil {
		house.wait()
	}
	_, _ = fmt.Fprintf(w, "%s %s %d %s", whose, r.URL.Query().Get("n"), len(body), canaryAnswer)
}

// judge returns whose token came.
func (p *provider) judge(r *http.Request, now time.Time) string {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Token-") || strings.HasPrefix(name, "X-Sidecar-") {
			p.note("the target got the header " + name)
		}
	}
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		p.note(fmt.Sprintf("the target got %d Authorization headers", len(fields)))
		return ""
	}
	token, isBearer := strings.CutPrefix(fields[0], "Bearer ")
	g, known := p.Issued(token)
	switch {
	case !isBearer || !known:
		p.note("the target got a token that was never issued in a good answer")
	case !now.Before(g.Expiry):
		p.noteLate(r, now)
	}
	return g.Subject
}

// sentHeader carries when the app sent a request, in Unix nanoseconds.
const sentHeader = "X-Sent"

// noteLate judges a request whose token has ended. In the last tenth of a token's life
// the sidecar does not give it out. So one that came within less than that after the
// app sent it got its token too late; another may have been on its way for so long.
func (p *provider) noteLate(r *http.Request, now time.Time) {
	sent, _ := strconv.ParseInt(r.Header.Get(sentHeader), 10, 64)
	if now.Sub(time.Unix(0, sent)) < p.life/10 {
		p.note("the target got an expired token")
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late++
}

func (p *provider) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wrong) < 20 {
		p.wrong = append(p.wrong, what)
	}
}

// check fails the test for what came to the provider and should not have.
func (p *provider) check(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, what := range p.wrong {
		t.Error(what)
	}
	for _, r := range p.TokenRequestLog() {
		if r.Outcome != upstreamtest.OutcomeIssued && r.Outcome != upstreamtest.OutcomeFault {
			t.Errorf("a token request was refused: %s, %s", r.Outcome, r.Reason)
		}
	}
	t.Logf("the tokens of %d requests expired on the way to the target", p.late)
}
