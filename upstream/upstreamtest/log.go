package upstreamtest

import (
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Outcomes of token requests other than error codes.
const (
	OutcomeIssued = "issued" // a token was issued
	OutcomeFault  = "fault"  // the fault hook answered
)

const (
	maxLog      = 1024    // token requests that are kept unless Options.LogSize says otherwise
	maxSubjects = 1 << 20 // subjects that are counted one by one
)

// TokenRequest is one request as it came to the token endpoint. It holds
// credentials, made-up ones. Its owner is the caller of TokenRequestLog,
// except for Header, which must not be changed.
type TokenRequest struct {
	Time          time.Time // of arrival
	Done          time.Time // when its answer was sent or broken off; zero: it is under way
	Number        int       // of the token requests on behalf of Subject, from 1
	Method        string
	Host          string
	Path          string // as sent, escaped
	RawQuery      string
	Header        http.Header
	ContentLength int64 // -1: unknown, as with chunked encoding
	Body          string
	Subject       string // on whose behalf; empty: the client itself
	Status        int    // of the answer; 0: no answer was sent
	Outcome       string // OutcomeIssued, OutcomeFault, or the error code
	Reason        string // why it was refused, for the reader of a failed test
}

// record counts what the server sees.
type record struct {
	mu        sync.Mutex // guards the fields below
	arrived   int
	running   int
	most      int
	size      int             // of last, at most
	last      []*TokenRequest // oldest first
	bySubject map[string]int
	api       int
	byStatus  map[int]int
	leaked    map[string]bool
}

// TokenRequests returns how many requests have come to the token endpoint,
// whatever became of them.
func (s *Server) TokenRequests() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.arrived
}

// TokenRequestsFor returns how many token requests came on behalf of subject;
// "" counts those for the client itself.
func (s *Server) TokenRequestsFor(subject string) int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.bySubject[subject]
}

// TokenRequestLog returns the latest token requests, at most Options.LogSize, in
// the order in which they were decided.
func (s *Server) TokenRequestLog() []TokenRequest {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	all := make([]TokenRequest, len(s.log.last))
	for i, r := range s.log.last {
		all[i] = *r
	}
	return all
}

// MaxConcurrent returns the greatest number of token requests that were under
// way at one moment.
func (s *Server) MaxConcurrent() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.most
}

// APIRequests returns how many requests have come to the API hosts.
func (s *Server) APIRequests() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.api
}

// APIAnswers returns how many API requests were answered with status, counted
// when the answer is decided, before its delay; 0 counts those that get none.
func (s *Server) APIAnswers(status int) int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.byStatus[status]
}

// LeakedHeaders returns the names, sorted, of header fields that were meant
// for the sidecar but reached the provider: X-Token-… and X-Sidecar-….
func (s *Server) LeakedHeaders() []string {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return slices.Sorted(maps.Keys(s.log.leaked))
}

// arrive counts a token request and returns its number.
func (l *record) arrive() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrived++
	l.running++
	l.most = max(l.most, l.running)
	return l.arrived
}

func (l *record) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
}

// add logs a token request that a was decided for, and returns what it logged.
// The caller must tell done when the answer has been sent.
func (l *record) add(subject string, c *call, a *Answer) (logged TokenRequest, done func()) {
	entry := &TokenRequest{
		Time: c.arrived, Method: c.r.Method, Host: c.r.Host, Path: c.r.URL.EscapedPath(), RawQuery: c.r.URL.RawQuery,
		Header: c.r.Header.Clone(), ContentLength: c.r.ContentLength, Body: c.body,
		Subject: subject, Status: a.status(), Outcome: a.outcome, Reason: a.reason,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bySubject == nil {
		l.bySubject = map[string]int{}
	}
	if _, known := l.bySubject[subject]; known || len(l.bySubject) < maxSubjects {
		l.bySubject[subject]++
	}
	entry.Number = l.bySubject[subject]
	if len(l.last) >= l.size {
		l.last = slices.Delete(l.last, 0, 1)
	}
	l.last = append(l.last, entry)
	return *entry, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		entry.Done = time.Now()
	}
}

// arriveAPI counts an API request and returns its number.
func (l *record) arriveAPI() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.api++
	return l.api
}

func (l *record) answeredAPI(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byStatus == nil {
		l.byStatus = map[int]int{}
	}
	l.byStatus[status]++
}

func (l *record) leak(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaked == nil {
		l.leaked = map[string]bool{}
	}
	for _, name := range names {
		if len(l.leaked) < maxLog {
			l.leaked[name] = true
		}
	}
}
