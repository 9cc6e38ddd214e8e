package check

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"token-sidecar/cache"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// tokenTry is one token that check asks for, and then what came of it.
type tokenTry struct {
	endpoint *config.TokenEndpoint
	kind     upstream.Kind
	key      upstream.Key // zero: not tried for want of a subject
	given    string       // subject of the command line: never shown
	shown    string       // what stands in its place

	token upstream.Token
	err   error
	took  time.Duration
}

// tries lists, by upstream, the tokens to ask for.
func (c *Config) tries(subjects []subject) ([][]*tokenTry, error) {
	if err := vetSubjects(c.Upstreams, subjects); err != nil {
		return nil, err
	}
	var all [][]*tokenTry
	for _, u := range c.Upstreams {
		var given []string
		for _, s := range subjects {
			if s.upstream == u.Name() {
				given = append(given, s.id)
			}
		}
		list, err := triesOf(u, c.Endpoints[u.Name()], given)
		if err != nil {
			return nil, err
		}
		all = append(all, list)
	}
	return all, nil
}

// triesOf lists the kinds of token that routes of u need, each for every
// subject that was given.
func triesOf(u upstream.Upstream, endpoint *config.TokenEndpoint, given []string) ([]*tokenTry, error) {
	var list []*tokenTry
	type kindRule struct {
		kind upstream.Kind
		rule upstream.SubjectRule
	}
	seen := map[kindRule]bool{}
	keys := map[upstream.Key]bool{}
	add := func(kind upstream.Kind, subject, shown string) error {
		key, err := u.Key(kind, subject, "")
		if err != nil {
			return &UsageError{fmt.Sprintf("--subject of %s: %v", u.Name(), err)}
		}
		if !keys[key] {
			keys[key] = true
			list = append(list, &tokenTry{endpoint: endpoint, kind: kind, key: key, given: subject, shown: shown})
		}
		return nil
	}
	for _, r := range u.Routes() {
		kind := kindRule{r.Kind, r.Subject}
		if seen[kind] {
			continue
		}
		seen[kind] = true
		if r.Subject != upstream.SubjectRequired {
			if err := add(r.Kind, "", ""); err != nil {
				return nil, err
			}
		} else if len(given) == 0 {
			list = append(list, &tokenTry{endpoint: endpoint, kind: r.Kind})
		}
		if r.Subject == upstream.SubjectRefused {
			continue
		}
		for i, subject := range given {
			if err := add(r.Kind, subject, shownSubject(i, len(given))); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// shownSubject stands for the subject that was given as number i of n.
func shownSubject(i, n int) string {
	if n == 1 {
		return "(as given)"
	}
	return "(as given) #" + strconv.Itoa(i+1)
}

// try asks for all tokens, through a cache, so that one token may buy another:
// each upstream's in turn, all upstreams at once.
func (c *Config) try(ctx context.Context, tries [][]*tokenTry) {
	tokens := cache.New(cache.Config{Upstreams: c.Upstreams, Metrics: metrics.New("check"), TokenTimeout: c.TokenTimeout})
	var all sync.WaitGroup
	for _, list := range tries {
		all.Go(func() {
			for _, t := range list {
				if t.key != (upstream.Key{}) {
					began := time.Now()
					t.token, t.err = tokens.Token(ctx, t.key)
					t.took = time.Since(began)
				}
			}
		})
	}
	all.Wait()
	_ = tokens.Close()
}

// cause returns the failure of the token request, nil if there was none.
func (t *tokenTry) cause() *upstream.Error {
	var cause *upstream.Error
	if t.err != nil && !errors.As(t.err, &cause) {
		return &upstream.Error{Class: upstream.ClassUnavailable, Reason: "the check was interrupted"}
	}
	return cause
}
