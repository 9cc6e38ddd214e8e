package proxy

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// route is one way to a target, with all that its requests have in common.
type route struct {
	upstream.Route
	upstream    upstream.Upstream
	connections *connections
	metrics     *metrics.Upstream
	base        string    // of the target's path, escaped, without a trailing slash
	host        host      // of the target
	allowed     AllowList // what is let through
	vended      bool      // the app may ask for its tokens
}

func newRoute(r upstream.Route, u upstream.Upstream, c *connections, m *metrics.Upstream) *route {
	return &route{r, u, c, m, strings.TrimSuffix(r.Target.EscapedPath(), "/"), hostOf(r.Target), AllowList{}, false}
}

// decision is what a request was found to be for. It is made once, from the request as it
// came in, and not changed afterwards.
type decision struct {
	route *route
	key   upstream.Key // of the token
	path  string       // of the request to the target, escaped
	query string       // with its question mark, if there is one

	absolute      bool   // the request is in absolute-form (RFC 9112 section 3.2.2), as clients send it to a proxy
	dedicated     bool   // the listener has one route, so that paths do not name it
	subjectInPath string // the segment that names the subject, "/~…", as it came; "" if there is none
	webSocket     bool   // the request asks for a WebSocket
	allowedBy     string // the pattern of the allow list; "" if there is no list
	purpose       string // what the app says that it is for; "" if it does not
	vend          bool   // it asks for the token itself
}

// decide finds route, key and path of a request, and why it is refused if it is: then the
// decision has the route if that was found.
func (p *Proxy) decide(r *http.Request, fixed *route) (d decision, err error) {
	d = decision{absolute: r.URL.Host != "", dedicated: fixed != nil, webSocket: asksForWebSocket(r)}
	path, query := splitTarget(r.RequestURI)
	if err := cmp.Or(checkPath(path), checkQuery(query)); err != nil {
		return d, err
	}
	named, err := single(r.Header, routeHeader, errRouteHeader)
	if err != nil {
		return d, err
	}
	rest := path
	switch {
	case d.absolute:
		d.route, rest, err = p.routeByHost(r.URL, path, named)
		if fixed != nil && err == nil && d.route != fixed {
			d.route, err = nil, errUnknownHost
		}
	case fixed != nil:
		d.route = fixed
	default:
		d.route, rest, err = p.routeByPath(path)
	}
	if err != nil {
		return d, err
	}
	if named != "" && named != d.route.Name {
		return d, errRouteHeader
	}
	d.query = query
	if err := d.chooseKey(r.Header, rest); err != nil {
		return d, err
	}
	if d.allowedBy, err = d.route.allowed.allows(r, d.path); err != nil {
		return d, err
	}
	d.purpose, err = p.config.Audit.purpose(r.Header)
	return d, err
}

// routeByPath returns the route that the first segment of a path names, byte for byte, and
// the rest of the path, which is empty or begins with a slash.
func (p *Proxy) routeByPath(path string) (*route, string, error) {
	name, _, _ := strings.Cut(path[1:], "/")
	r := p.routes[name]
	if r == nil {
		return nil, "", errUnknownRoute
	}
	return r, path[1+len(name):], nil
}

// routeByHost returns the route whose target an absolute-form request names, and the rest of
// the path, which is empty or begins with a slash. If several routes share host and path,
// named says which.
func (p *Proxy) routeByHost(u *url.URL, path, named string) (*route, string, error) {
	if u.Scheme != "http" || u.User != nil {
		return nil, "", errUnknownHost
	}
	r, ambiguous := p.routeAt(hostOf(u), path, named)
	switch {
	case r == nil:
		return nil, "", errUnknownHost
	case ambiguous:
		return nil, "", errAmbiguous
	}
	return r, path[len(r.base):], nil
}

// chooseKey reads subject and scope of a request whose path is rest below its route, and
// sets key and path of the decision.
func (d *decision) chooseKey(h http.Header, rest string) error {
	subject, err := single(h, subjectHeader, upstream.ErrSubjectInvalid)
	if err != nil {
		return err
	}
	if !d.absolute && strings.HasPrefix(rest, "/~") {
		escaped, _, _ := strings.Cut(rest[2:], "/")
		inPath, err := url.PathUnescape(escaped)
		if err != nil || inPath == "" || subject != "" {
			return upstream.ErrSubjectInvalid // malformed, or given twice
		}
		end := len("/~" + escaped)
		subject, d.subjectInPath, rest = inPath, rest[:end], rest[end:]
	}
	if rest == "" {
		rest = "/"
	}
	if strings.HasPrefix(rest, "//") {
		return errPath // a target could read it as a host
	}
	scope, err := single(h, scopeHeader, upstream.ErrScopeNotAllowed)
	if err != nil {
		return err
	}
	if d.route.Subject == upstream.SubjectFromToken {
		if subject != "" {
			return upstream.ErrSubjectNotTaken
		}
		if subject, err = bearerToken(h); err != nil {
			return err
		}
	}
	// The key lives as long as its token. It must not keep the whole head of the request.
	d.key, err = d.route.upstream.Key(d.route.Kind, strings.Clone(subject), strings.Clone(scope))
	d.path = d.route.base + rest
	return err
}

// bearerToken returns the token of the one Authorization header of a request, "" if there is
// none or it is of another scheme (RFC 6750 section 2.1; schemes are case-insensitive).
func bearerToken(h http.Header) (string, error) {
	given := h["Authorization"]
	if len(given) > 1 {
		return "", upstream.ErrSubjectTokenInvalid
	}
	if len(given) == 0 {
		return "", nil
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	return strings.TrimLeft(token, " "), nil
}
