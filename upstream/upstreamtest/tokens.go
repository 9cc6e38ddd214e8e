package upstreamtest

import (
	"slices"
	"sync"
	"time"
)

// Kinds of tokens, as Grant and Echo name them.
const (
	KindClient      = "client"      // of the client itself
	KindService     = "service"     // of a MyDataHelps service account
	KindParticipant = "participant" // of one MyDataHelps participant
	KindAccess      = "access"      // of one Human API user
)

// maxTokens bounds what a server remembers; beyond it the oldest token is
// forgotten, though it may still be alive.
const maxTokens = 1 << 20

// Grant is what an issued token stands for.
type Grant struct {
	Serial  int    // 1 for the first token of the server
	Number  int    // 1 for the first token of the subject
	Kind    string // KindClient, …
	Client  string // id of the client that asked for it
	Secret  string // with which that client asked; empty unless Human API issued it
	Subject string // as asked for; empty: the client itself
	Scope   string // as granted, in the order asked for
	Issued  time.Time
	Expiry  time.Time
	Revoked bool
	// Thumbprint of the client certificate that the token is bound to, as x5t#S256 of RFC
	// 8705 section 3.1; empty: to none.
	Thumbprint string
}

// ledger remembers the issued tokens.
type ledger struct {
	mu       sync.Mutex // guards the fields below
	lifetime time.Duration
	keep     bool // Options.KeepExpired
	serial   int
	numbers  map[string]int // of the last token, by subject
	grants   map[string]*Grant
	order    []string // keys of grants, oldest first
}

// Issued returns what token was issued for. It is false for a token that this
// server did not issue, or that has expired and was forgotten.
func (s *Server) Issued(token string) (Grant, bool) {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	if g := s.tokens.grants[token]; g != nil {
		return *g, true
	}
	return Grant{}, false
}

// Revoke makes token invalid from now on and reports whether it was known.
func (s *Server) Revoke(token string) bool {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	g := s.tokens.grants[token]
	if g != nil {
		g.Revoked = true
	}
	return g != nil
}

// RevokeSubject makes every token of subject invalid and returns how many it
// met; "" stands for the client itself.
func (s *Server) RevokeSubject(subject string) int {
	return s.tokens.revoke(func(g *Grant) bool { return g.Subject == subject })
}

// RevokeAll makes every issued token invalid and returns how many it met.
func (s *Server) RevokeAll() int {
	return s.tokens.revoke(func(*Grant) bool { return true })
}

// revoke revokes those that match, and returns how many were not revoked before.
func (l *ledger) revoke(match func(*Grant) bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, g := range l.grants {
		if !g.Revoked && match(g) {
			g.Revoked = true
			n++
		}
	}
	return n
}

func (l *ledger) setLifetime(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lifetime = d
}

// issue enters token and returns its grant, which is g with its numbers and times.
func (l *ledger) issue(token string, g Grant) Grant {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.order) > 0 && (len(l.order) >= maxTokens || !l.keep && !now.Before(l.grants[l.order[0]].Expiry)) {
		delete(l.grants, l.order[0])
		l.order = l.order[1:]
	}
	if l.grants == nil {
		l.grants, l.numbers = map[string]*Grant{}, map[string]int{}
	}
	l.serial++
	if _, known := l.numbers[g.Subject]; known || len(l.numbers) < maxSubjects {
		l.numbers[g.Subject]++
	}
	g.Serial, g.Number, g.Issued, g.Expiry = l.serial, l.numbers[g.Subject], now, now.Add(l.lifetime)
	l.grants[token] = &g
	l.order = append(l.order, token)
	return g
}

// IssuedTokens returns all tokens that the server remembers, oldest first.
func (s *Server) IssuedTokens() []string {
	s.tokens.mu.Lock()
	defer s.tokens.mu.Unlock()
	return slices.Clone(s.tokens.order)
}

// valid returns the grant of token, nil if it is unknown, expired or revoked.
func (l *ledger) valid(token string) *Grant {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.grants[token]
	if g == nil || g.Revoked || !now.Before(g.Expiry) {
		return nil
	}
	c := *g
	return &c
}

// expiresIn returns the life of g in whole seconds, as the wire has it.
func (g Grant) expiresIn() int { return int(g.Expiry.Sub(g.Issued) / time.Second) }

// seenOnce knows values that may be used once while they are valid.
type seenOnce struct {
	mu     sync.Mutex           // guards the fields below
	values map[string]time.Time // until when each is remembered
	sweep  int                  // size at which to drop the old ones
}

// add reports whether value is new, and remembers it until the given time.
func (o *seenOnce) add(value string, until time.Time) bool {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.values == nil {
		o.values = map[string]time.Time{}
	}
	if len(o.values) >= max(o.sweep, 1024) {
		for v, end := range o.values {
			if end.Before(now) {
				delete(o.values, v)
			}
		}
		o.sweep = 2 * len(o.values)
	}
	if end, seen := o.values[value]; seen && !end.Before(now) {
		return false
	}
	o.values[value] = until
	return true
}
