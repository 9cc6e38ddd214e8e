package fleet

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// provider is a simulated Human API that knows every subject, and the target that
// takes its tokens, in place of the simulation's own, which costs more.
type provider struct {
	*upstreamtest.Server
	life   time.Duration
	target *target
	others []*upstreamtest.Server // whose tokens the target takes too
}

// staging are credentials of another environment, which the provider takes too.
var staging = struct{ id, secret string }{"staging-client", "staging-secret"}

func newProvider(t *testing.T, life time.Duration) *provider {
	p := &provider{life: life, Server: upstreamtest.NewHumanAPI(upstreamtest.Options{
		Lifetime: life, ClientID: clientID, ClientSecret: clientSecret, KeepExpired: true, LogSize: 1 << 20,
		KnowsClient: func(id, secret string) bool {
			return id == clientID && secret == staging.secret || id == staging.id && secret == clientSecret
		},
	})}
	t.Cleanup(p.Close)
	p.target = newTarget(t, min(life/10, 2*time.Second), p.lookUp)
	return p
}

// addOther has the target take the tokens of s too. It must come before the first request.
func (p *provider) addOther(t *testing.T, s *upstreamtest.Server) {
	t.Cleanup(s.Close)
	p.others = append(p.others, s)
}

// delayAnswers has each answer come as late as delay says.
func (p *provider) delayAnswers(delay func() time.Duration) {
	p.SetTokenHold(func(ctx context.Context, _ upstreamtest.TokenRequest) {
		select {
		case <-ctx.Done():
		case <-time.After(delay()):
		}
	})
}

// lookUp returns what token stands for.
func (p *provider) lookUp(token string) (upstreamtest.Grant, bool) {
	for _, s := range append([]*upstreamtest.Server{p.Server}, p.others...) {
		if g, ok := s.Issued(token); ok {
			return g, true
		}
	}
	return upstreamtest.Grant{}, false
}

// keyOf is what a target tells of a grant: the subject, or the scope where there
// is none.
func keyOf(g upstreamtest.Grant) string { return cmp.Or(g.Subject, g.Scope) }

// requestsBut returns how many token requests came for all subjects but those that
// begin with prefix.
func (p *provider) requestsBut(prefix string) (n int) {
	for _, r := range p.TokenRequestLog() {
		if !strings.HasPrefix(r.Subject, prefix) {
			n++
		}
	}
	return n
}

// secrets returns all tokens.
func (p *provider) secrets() (list []string) {
	for _, s := range append([]*upstreamtest.Server{p.Server}, p.others...) {
		list = append(list, s.IssuedTokens()...)
	}
	return list
}

// byArrival returns all token requests in the order in which they came.
func (p *provider) byArrival() []upstreamtest.TokenRequest {
	all := p.TokenRequestLog()
	slices.SortFunc(all, func(a, b upstreamtest.TokenRequest) int { return a.Time.Compare(b.Time) })
	return all
}
