package proxy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// allowVend allows the tokens of the configured routes to be handed on. It fails unless these
// are tokens of single subjects: one that stands for the client itself never leaves the
// sidecar.
func (p *Proxy) allowVend() error {
	for _, name := range p.config.Vend {
		r := p.routes[name]
		if r == nil {
			return fmt.Errorf("no route is named %q", name)
		}
		if r.Subject != upstream.SubjectRequired {
			return fmt.Errorf("tokens of the route %q are not those of a subject and cannot be handed on", name)
		}
		if !r.allowed.IsZero() {
			return fmt.Errorf("tokens of the route %q cannot be handed on, since they would get around its allow list", name)
		}
		r.vended = true
	}
	return nil
}

// decideVend is decide for a request that asks for a token itself.
func (p *Proxy) decideVend(r *http.Request) (d decision, err error) {
	d.vend = true
	path, query := splitTarget(r.RequestURI)
	if err := checkPath(path); err != nil {
		return d, err
	}
	route, rest, err := p.routeByPath(strings.TrimPrefix(path, "/token"))
	if err != nil || !route.vended {
		return d, errUnknownRoute
	}
	d.route = route
	if r.Method != http.MethodPost {
		return d, errMethod
	}
	if err := d.chooseKey(r.Header, rest); err != nil {
		return d, err
	}
	if d.path != route.base+"/" || query != "" {
		return d, errPath // nothing more may follow
	}
	d.purpose, err = p.config.Audit.purpose(r.Header)
	return d, err
}

// handOn answers with the subject's token, in the form of RFC 6749 section 5.1, for clients
// that must hold one themselves: MyDataHelps calls an app that does this for them the
// authenticator (Participant Access Tokens). The app has to have authenticated its user;
// the sidecar trusts it to name the right subject.
func (x *exchange) handOn() error {
	before := time.Now()
	token, err := x.proxy.config.Cache.LongToken(x.in.Context(), x.key)
	x.waited = time.Since(before)
	if err != nil {
		return tokenError{err}
	}
	if err := x.audit(eventHandedOn); err != nil {
		return err
	}
	h := x.out.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // RFC 6749 section 5.1
	h.Set("Pragma", "no-cache")
	x.out.WriteHeader(http.StatusOK)
	if json.NewEncoder(&x.out).Encode(struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		Scope       string `json:"scope,omitempty"`
	}{token.AccessToken(), "Bearer", int(time.Until(token.Expiry()).Seconds()), cmp.Or(token.Scope(), x.key.Scope)}) != nil {
		panic(http.ErrAbortHandler) // the app has left: a part must not pass for the whole
	}
	return nil
}
