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

	"token-sidecar/cmd/internal/testkit"
)

const (
	clientID     = "soak-client-id"
	clientSecret = canarySecret + "-and-the-rest"
	callerToken  = canaryCaller + "-and-the-rest"
)

// provider is a token endpoint in the form of Human API that knows every
// subject, and the target that takes its tokens. A token says by itself whose
// it is and when it ends, so that neither has to remember any.
type provider struct {
	life   time.Duration
	tokens *httptest.Server
	target *httptest.Server

	tokenFault  atomic.Pointer[fault] // nil: none
	targetFault atomic.Pointer[fault]
	house       atomic.Pointer[barrier] // nil: nobody waits
	issued      atomic.Int64
	pulse       *testkit.Pulse

	mu      sync.Mutex // guards wrong and late
	wrong   []string   // what a request to the target should never be
	late    int        // requests with an expired token
	excused int        // of them those that the machine held up
}

func newProvider(t *testing.T, life time.Duration) *provider {
	p := &provider{life: life, pulse: testkit.NewPulse(t)}
	p.tokens = httptest.NewServer(http.HandlerFunc(p.serveToken))
	p.target = httptest.NewServer(http.HandlerFunc(p.serveTarget))
	t.Cleanup(func() {
		p.tokenFault.Store(nil) // those that hang go on
		p.tokens.CloseClientConnections()
		p.target.CloseClientConnections()
		p.tokens.Close()
		p.target.Close()
	})
	return p
}

// subject returns the name of the nth subject.
func subject(n int) string { return fmt.Sprintf("%s@%06d", canarySubject, n) }

// newToken returns a token of subject that ends at expiry.
func newToken(subject string, expiry time.Time) string {
	return strings.Join([]string{canaryHead, strings.TrimPrefix(subject, canarySubject+"@"),
		strconv.FormatInt(expiry.UnixNano(), 36), rand.Text(), canaryTail}, ".")
}

// readToken returns whose token it is and its end.
func readToken(token string) (whose string, expiry time.Time, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 5 || parts[0] != canaryHead || parts[4] != canaryTail {
		return "", time.Time{}, fmt.Errorf("not a token of ours")
	}
	nano, err := strconv.ParseInt(parts[2], 36, 64)
	return canarySubject + "@" + parts[1], time.Unix(0, nano), err
}

func (p *provider) serveToken(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	var asked map[string]string
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || asked["client_secret"] != clientSecret {
		p.note("a token request without the client's secret")
	}
	p.issued.Add(1)
	token := newToken(asked["client_user_id"], began.Add(p.life))
	w.Header().Set("Content-Type", "application/json")
	if f := p.tokenFault.Load(); f.strikes() {
		f.failToken(w, r, asked["client_user_id"], token)
		return
	}
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d,"refresh_token":"%s-%s"}`,
		token, int(p.life.Seconds()), canaryRefresh, rand.Text())
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
	whose, expiry, err := readToken(token)
	switch {
	case !isBearer || err != nil:
		p.note("the target got a token that was never issued in a good answer")
	case !now.Before(expiry):
		p.noteLate(now.Sub(expiry))
	}
	return whose
}

// noteLate counts a request whose token had ended before. The sidecar cannot
// know how long the machine lets a request lie that it has written, so one that
// is late by no more than what the machine has just lost elsewhere is excused.
func (p *provider) noteLate(by time.Duration) {
	stalled := p.pulse.Lost(time.Second)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late++
	if stalled >= by {
		p.excused++
	}
}

func (p *provider) note(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wrong) < 20 {
		p.wrong = append(p.wrong, what)
	}
}

// check fails the test for what came to the target and should not have.
func (p *provider) check(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, what := range p.wrong {
		t.Error(what)
	}
	t.Logf("%d requests came to the target with an expired token; the machine held up %d of them", p.late, p.excused)
	if p.late > p.excused {
		t.Error("the target got an expired token")
	}
}
