package check

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"token-sidecar/cache"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// subject is one that the command line names, with its upstream.
type subject struct{ upstream, id string }

// UsageError says what is wrong with the arguments. It quotes none of them:
// each might be, or hold, a subject.
type UsageError struct{ Message string }

// Error returns the message.
func (e *UsageError) Error() string { return e.Message }

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
	if err := checkSubjects(c.Upstreams, subjects); err != nil {
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

// checkSubjects makes sure that each subject has an upstream that takes it.
func checkSubjects(upstreams []upstream.Upstream, subjects []subject) error {
	var takers []string
	for _, u := range upstreams {
		if slices.ContainsFunc(u.Routes(), takesSubject) {
			takers = append(takers, u.Name())
		}
	}
	for _, s := range subjects {
		switch {
		case slices.Contains(takers, s.upstream):
		case len(takers) == 0:
			return &UsageError{"--subject: no configured upstream takes a subject"}
		default:
			return &UsageError{"--subject names no configured upstream that takes a subject; these do: " + strings.Join(takers, ", ")}
		}
	}
	return nil
}

// triesOf lists the kinds of token that routes of u need, each for every subject that
// was given, or once without a key if it needs one and none was given.
func triesOf(u upstream.Upstream, endpoint *config.TokenEndpoint, given []string) ([]*tokenTry, error) {
	var list []*tokenTry
	add := func(t tokenTry) {
		known := func(other *tokenTry) bool { return other.kind == t.kind && other.key == t.key }
		if !slices.ContainsFunc(list, known) {
			t.endpoint = endpoint
			list = append(list, &t)
		}
	}
	addKey := func(kind upstream.Kind, subject, shown string) error {
		key, err := u.Key(kind, subject, "")
		if err != nil {
			return &UsageError{fmt.Sprintf("--subject of %s: %v", u.Name(), err)}
		}
		add(tokenTry{kind: kind, key: key, given: subject, shown: shown})
		return nil
	}
	for _, r := range u.Routes() {
		var err error
		switch {
		case r.Subject == upstream.SubjectFromToken:
			add(tokenTry{kind: r.Kind})
		case r.Subject != upstream.SubjectRequired:
			err = addKey(r.Kind, "", "")
		case len(given) == 0:
			add(tokenTry{kind: r.Kind})
		}
		for i, subject := range given {
			if takesSubject(r) && err == nil {
				err = addKey(r.Kind, subject, shownSubject(i, len(given)))
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// takesSubject reports whether a subject can be named for the tokens of r.
func takesSubject(r upstream.Route) bool {
	return r.Subject == upstream.SubjectOptional || r.Subject == upstream.SubjectRequired
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
