package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// tokenTry is one token that check asks for, and then what came of it.
type tokenTry struct {
	endpoint *tokenEndpoint
	kind     upstream.Kind
	key      upstream.Key // zero: not tried for want of a subject
	given    string       // subject of the command line: never shown
	shown    string       // what stands in its place

	token upstream.Token
	err   error
	took  time.Duration
}

// tries lists, by upstream, the tokens to ask for.
func (c *Config) tries(upstreams []upstream.Upstream, subjects []checkSubject) ([][]*tokenTry, error) {
	if err := vetSubjects(upstreams, subjects); err != nil {
		return nil, err
	}
	endpoints := c.tokenEndpoints()
	var all [][]*tokenTry
	for _, u := range upstreams {
		var given []string
		for _, s := range subjects {
			if s.upstream == u.Name() {
				given = append(given, s.id)
			}
		}
		list, err := triesOf(u, endpoints[u.Name()], given)
		if err != nil {
			return nil, err
		}
		all = append(all, list)
	}
	return all, nil
}

// triesOf lists the kinds of token that routes of u need, each for every
// subject that was given.
func triesOf(u upstream.Upstream, endpoint *tokenEndpoint, given []string) ([]*tokenTry, error) {
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
			return &ExitError{exitConfig, fmt.Sprintf("--subject of %s: %v", u.Name(), err)}
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
func (p Program) try(ctx context.Context, c *Config, upstreams []upstream.Upstream, tries [][]*tokenTry) {
	tokens := cache.New(cache.Config{Upstreams: upstreams, Metrics: metrics.New(p.Version), TokenTimeout: c.TokenTimeout})
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

// tokenEndpoint is what the settings of one upstream say that may explain why
// its token endpoint refuses.
type tokenEndpoint struct {
	name     string
	family   string // which rules apply to it: the section's name in lower case
	section  string // of its variables, such as SIDECAR_PDX_
	url      *url.URL
	timeout  time.Duration
	auth     string        // basic, post, private_key_jwt or hmac; empty: a way of its own
	audience string        // of assertions
	life     time.Duration // of assertions
	encoding string        // of Basic: form or plain
	reserved bool          // form-encoding changes the client id or secret
	hip      bool          // Human API
	variant  string        // PDX: live or sandbox
}

// tokenEndpoints returns the token endpoint of each upstream by its name.
func (c *Config) tokenEndpoints() map[string]*tokenEndpoint {
	m, p, o, h := &c.MyDataHelps, &c.PDX, &c.OCLC, &c.HumanAPI
	list := []*tokenEndpoint{
		{name: "mydatahelps", family: "mydatahelps", section: "MYDATAHELPS_", url: m.TokenURL,
			auth: "private_key_jwt", audience: m.Audience, life: m.AssertionLifetime},
		{name: "pdx", family: "pdx", section: "PDX_", url: p.TokenURL, auth: p.Auth, variant: p.Environment,
			encoding: p.BasicEncoding, reserved: reserved(p.ClientID, p.ClientSecret)},
		{name: "oclc", family: "oclc", section: "OCLC_", url: o.TokenURL, auth: o.Auth},
		{name: "humanapi", family: "humanapi", section: "HUMANAPI_", url: h.TokenURL, hip: h.HIP},
	}
	// Last: a generic upstream may have the name of a provider that is off.
	for i := range c.OAuth2 {
		a := &c.OAuth2[i]
		list = append(list, &tokenEndpoint{name: a.Name, family: "oauth2", section: fmt.Sprintf("OAUTH2_%d_", i), url: a.TokenURL,
			auth: a.Auth, audience: a.Audience, encoding: a.BasicEncoding, reserved: reserved(a.ClientID, a.ClientSecret)})
	}
	all := map[string]*tokenEndpoint{}
	for _, e := range list {
		e.section = prefix + e.section
		e.timeout = c.TokenTimeout
		all[e.name] = e
	}
	return all
}

func reserved(id string, secret upstream.Secret) bool {
	return url.QueryEscape(id) != id || url.QueryEscape(secret.Reveal()) != secret.Reveal()
}
