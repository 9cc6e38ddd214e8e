package upstreamtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// Answer is an HTTP answer to give in place of the normal one. The server
// reads it, never changes it, so one Answer may serve many requests.
type Answer struct {
	Status int // zero: 200
	Header http.Header
	Body   string
	// Delay passes before the first byte is sent, on top of SetTokenDelay.
	Delay time.Duration
	// Hang sends nothing until the client leaves or the server is closed.
	Hang bool
	// Reset cuts the connection with a TCP reset and sends nothing.
	Reset bool

	outcome, reason string // for the log
}

// Fault decides whether a request fails. It gets the request, whose body it
// may read, and its number, from 1. Nil means: behave normally. It is called
// from many goroutines at once.
type Fault func(r *http.Request, n int) *Answer

// OAuthError returns an error answer in the form of RFC 6749 section 5.2.
func OAuthError(status int, code string) *Answer {
	return jsonAnswer(status, map[string]string{"error": code}).because(code, "")
}

// SetTokenFault makes f decide about each token request before it is looked
// at. Nil ends the faults.
func (s *Server) SetTokenFault(f Fault) { s.faults.set(func(v *faults) { v.onToken = f }) }

// SetAPIFault makes f decide about each API request before its token is looked
// at. Nil ends the faults.
func (s *Server) SetAPIFault(f Fault) { s.faults.set(func(v *faults) { v.onAPI = f }) }

// SetTokenDelay makes every answer of the token endpoint come d later. A token
// is issued before the delay, so its life is the shorter for the client.
func (s *Server) SetTokenDelay(d time.Duration) { s.faults.set(func(v *faults) { v.tokenDelay = d }) }

// Hold keeps the answer to a token request back until it returns. It gets the
// request as the log has it, decided but not answered: its token, if it got one,
// is issued, so that its life has begun. ctx ends when the client leaves or the
// server is closed, and a Hold must return then. It is called from many goroutines
// at once.
type Hold func(ctx context.Context, r TokenRequest)

// SetTokenHold makes every answer of the token endpoint wait for h, which may so
// delay the answers of some subjects, or gather requests before it lets any go on.
// Nil ends that. It comes before the delay of SetTokenDelay.
func (s *Server) SetTokenHold(h Hold) { s.faults.set(func(v *faults) { v.onAnswer = h }) }

// hold waits for the hook that SetTokenHold has set.
func (s *Server) hold(ctx context.Context, r TokenRequest) {
	s.faults.mu.Lock()
	hook := s.faults.onAnswer
	s.faults.mu.Unlock()
	if hook == nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closed, cancel)()
	hook(ctx, r)
}

// faults holds what a test has set.
type faults struct {
	mu         sync.Mutex // guards the fields below
	onToken    Fault
	onAPI      Fault
	onAnswer   Hold
	tokenDelay time.Duration
}

func (f *faults) set(change func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faults) delay() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokenDelay
}

func (f *faults) token(r *http.Request, n int) *Answer {
	f.mu.Lock()
	hook := f.onToken
	f.mu.Unlock()
	return run(hook, r, n)
}

func (f *faults) api(r *http.Request, n int) *Answer {
	f.mu.Lock()
	hook := f.onAPI
	f.mu.Unlock()
	return run(hook, r, n)
}

func run(hook Fault, r *http.Request, n int) *Answer {
	if hook == nil {
		return nil
	}
	return hook(r, n)
}

// because returns a copy of a that the log shows with outcome and reason.
func (a *Answer) because(outcome, reason string) *Answer {
	c := *a
	c.outcome, c.reason = outcome, reason
	return &c
}

func (a *Answer) asFault() *Answer { return a.because(OutcomeFault, a.outcome) }

// status returns what the client will see: 0 if it sees no answer.
func (a *Answer) status() int {
	switch {
	case a.Hang, a.Reset:
		return 0
	case a.Status == 0:
		return http.StatusOK
	}
	return a.Status
}

// send writes a after extra and its own delay. It gives up when the client
// leaves or the server closes.
func (s *Server) send(w http.ResponseWriter, r *http.Request, a *Answer, extra time.Duration) {
	if a.Hang {
		_, _ = io.Copy(io.Discard, r.Body) // an unread body hides that the client has left
		s.pause(r.Context(), -1)
		panic(http.ErrAbortHandler)
	}
	if d := extra + a.Delay; d > 0 && !s.pause(r.Context(), d) {
		panic(http.ErrAbortHandler)
	}
	if a.Reset {
		Reset(w)
		return
	}
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.status())
	_, _ = io.WriteString(w, a.Body)
}

// pause waits for d, for ever if d is negative, and reports whether it came to the end.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	var end <-chan time.Time
	if d >= 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		end = timer.C
	}
	select {
	case <-end:
		return true
	case <-ctx.Done():
	case <-s.closed.Done():
	}
	return false
}

// Reset ends the connection of w with a TCP reset in place of an answer.
func Reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send RST
	}
	_ = conn.Close()
}

func jsonAnswer(status int, v any) *Answer {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("upstreamtest: encode an answer: %v", err))
	}
	return &Answer{Status: status, Body: string(body), Header: http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"no-store"}, // RFC 6749 section 5.1
	}}
}

func textAnswer(status int, text string) *Answer {
	return &Answer{Status: status, Body: text, Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}}
}
