package proxy

import (
	"net/http"
	"net/url"
	"strings"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// route is one way in, with what each of its requests needs ready made.
type route struct {
	upstream.Route
	upstream    upstream.Upstream
	connections *connections
	metrics     *metrics.Upstream
	base        string // of the target's path, escaped, without a trailing slash
	at          string // the target's host and port, as hostOf returns them
}

func newRoute(r upstream.Route, u upstream.Upstream, c *connections, m *metrics.Upstream) *route {
	_, at := hostOf(r.Target)
	return &route{r, u, c, m, strings.TrimSuffix(r.Target.EscapedPath(), "/"), at}
}

// askedHost is how an absolute-form request names the target: the sidecar
// turns http into https, so either's default port is left out.
func (r *route) askedHost() string {
	return trimPort(trimPort(strings.ToLower(r.Target.Host), ":443"), ":80")
}

func trimPort(host, port string) string { return strings.TrimSuffix(host, port) }

// resolve finds the route, the key and the forwarded path of a request: once,
// from the request as it came in.
func (x *exchange) resolve(fixed *route) error {
	if x.in.RequestURI[0] != '/' && x.in.URL.Host == "" {
		return errPath // neither origin-form nor absolute-form, such as "http:/x" or "a:b"
	}
	path, query := splitTarget(x.in.RequestURI)
	if err := checkPath(path); err != nil {
		return err
	}
	if err := checkQuery(query); err != nil {
		return err
	}
	named, err := single(x.in.Header, routeHeader, errRouteHeader)
	if err != nil {
		return err
	}
	rest := path
	x.dedicated = fixed != nil
	switch {
	case fixed != nil && x.in.URL.Host == "":
		x.route = fixed
	case x.in.URL.Host != "":
		x.route, rest, err = x.proxy.routeByHost(x.in.URL, path, named)
		if fixed != nil && err == nil && x.route != fixed {
			err = errUnknownHost
		}
	default:
		x.route, rest, err = x.proxy.routeByPath(path)
	}
	if err != nil {
		x.route = nil
		return err
	}
	if named != "" && named != x.route.Name {
		return errRouteHeader
	}
	return x.chooseKey(rest, query, x.in.URL.Host != "")
}

// routeByPath takes /{route}/… apart. The name is compared byte for byte.
func (p *Proxy) routeByPath(path string) (*route, string, error) {
	name, rest := path[1:], "/"
	if i := strings.IndexByte(name, '/'); i >= 0 {
		name, rest = name[:i], name[i:]
	}
	r := p.routes[name]
	if r == nil {
		return nil, "", errUnknownRoute
	}
	return r, rest, nil
}

// routeByHost finds the route whose target an absolute-form request names. If
// several share the host and path, named says which.
func (p *Proxy) routeByHost(u *url.URL, path, named string) (*route, string, error) {
	if u.Scheme != "http" || u.User != nil {
		return nil, "", errUnknownHost
	}
	var found *route
	ambiguous := false
	for _, r := range p.byHost[trimPort(strings.ToLower(u.Host), ":80")] {
		if !under(path, r.base) || (named != "" && named != r.Name) {
			continue
		}
		switch {
		case found == nil || len(r.base) > len(found.base):
			found, ambiguous = r, false
		case len(r.base) == len(found.base):
			ambiguous = true
		}
	}
	if found == nil {
		return nil, "", errUnknownHost
	}
	if ambiguous {
		return nil, "", errAmbiguous
	}
	rest := path[len(found.base):]
	if rest == "" {
		rest = "/"
	}
	return found, rest, nil
}

// under reports whether path is base or below it, by whole segments.
func under(path, base string) bool {
	return strings.HasPrefix(path, base) && (len(path) == len(base) || path[len(base)] == '/')
}

// chooseKey reads subject and scope and sets key, path and query.
func (x *exchange) chooseKey(rest, query string, absolute bool) error {
	subject, err := single(x.in.Header, subjectHeader, upstream.ErrSubjectInvalid)
	if err != nil {
		return err
	}
	if !absolute && strings.HasPrefix(rest, "/~") {
		escaped, after, more := strings.Cut(rest[2:], "/")
		inPath, err := url.PathUnescape(escaped)
		if err != nil || inPath == "" || subject != "" {
			return upstream.ErrSubjectInvalid // malformed, or given twice
		}
		subject, rest, x.subjectInPath = inPath, "/", rest[:2+len(escaped)]
		if more {
			rest += after
		}
	}
	if strings.HasPrefix(rest, "//") {
		return errPath // a target could read it as a host
	}
	scope, err := single(x.in.Header, scopeHeader, upstream.ErrScopeNotAllowed)
	if err != nil {
		return err
	}
	x.key, err = x.route.upstream.Key(x.route.Kind, subject, scope)
	x.path, x.query = x.route.base+rest, query
	return err
}

// single returns the one value of a header, "" if it is absent. Given twice,
// or given empty, it is invalid: a variable that was left unset must not pass
// for a choice.
func single(h http.Header, name string, invalid error) (string, error) {
	values, given := h[name]
	if !given {
		return "", nil
	}
	if len(values) != 1 || values[0] == "" {
		return "", invalid
	}
	return values[0], nil
}
