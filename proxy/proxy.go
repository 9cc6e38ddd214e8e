// Package proxy is the way of a request through the sidecar: it finds out what an app's
// request is for, gets the token for that, forwards the request with it, and hands the
// target's answer back. It decides everything from the request as it came in, and what it
// refuses reaches neither a token endpoint nor a target.
//
// The files, in the order in which a request meets them:
//
//   - server.go accepts the connections of apps, and shutdown.go ends it all.
//   - leanconn.go serves the plain requests of a connection: leaving.go notices that the app has
//     left, leancontext.go tells them so, and leanwriter.go writes the answers.
//   - clientconn.go is a connection from the first other request on: net/http serves it, and
//     judgedreader.go lets it read nothing that is not well-formed. handler.go is what net/http
//     calls. On both kinds of connections untaken.go ends what the app does not take, and linger.go
//     sees to it that the last answer reaches it.
//   - explain.go says what all that follows would do with a request, and does none of it.
//   - proxy.go takes a request through all of the following.
//   - guard.go refuses what must not come any further; callers.go knows who may come.
//   - vend.go answers the requests that ask for a token itself.
//   - route.go decides what a request is for: route, key, path. path.go refuses paths that
//     can be read in two ways, allow.go requests that are not on the route's list.
//   - forward.go chooses one of two ways to the target, and waits for a place among the
//     requests to it; connections.go has the connections and places of each target.
//   - lean.go is the way of plain requests: one goroutine, over an HTTP/1.1 connection that
//     is kept. general.go is the way of all others: ReverseProxy over net/http's Transport.
//     presented.go has the connections that a token may be sent over, on both ways; reach.go
//     opens one only to try it.
//   - rewrite.go says what of a request's head the target gets, on both ways.
//   - token.go gets the token, another one after a 401, and the header fields that the API
//     wants beside it; challenge.go reads what a 401 says of the token.
//   - body.go reads a small body beforehand, so that its request can be sent again, and
//     finds out whose fault it is if that fails; upload.go reads from the app.
//   - answer.go judges and changes an answer, on both ways; tunnel.go ends a target that has
//     switched to another protocol and stands still. scrub.go removes headers;
//     tokensearch.go finds the token in them. links.go has what an answer points to lead
//     through the sidecar; reference.go judges one such reference, and hosts.go its host.
//   - audit.go says who asked for what with a token of which subject, by the name that
//     pseudonym.go gives it; auditwriter.go has the lines written, and auditout.go writes to
//     the file.
//   - problem.go is the one place where errors become statuses; accesslog.go counts the
//     request and writes its log line, with the trace id that trace.go finds.
//   - syntax.go has the names of headers, and the parts of the syntax of HTTP and URIs that
//     several of these files read.
//
// Below this package are http1, the grammar of HTTP/1.1; targetconn, which opens, keeps and judges
// the connections to targets; and peek, which looks whether anything has come on a connection.
package proxy

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
	"token-sidecar/upstream/egress"
)

// Config configures a Proxy.
type Config struct {
	// Upstreams are the remote APIs. The names of all their routes are distinct.
	Upstreams []upstream.Upstream
	// Cache gives the tokens. The proxy does not close it.
	Cache *cache.Cache
	// Metrics receives the series of requests. Required.
	Metrics *metrics.Metrics
	// Log receives one line per request, at level info.
	Log zerolog.Logger
	// Hosts are those that requests may be addressed to.
	Hosts Hosts
	// CallerToken must come in X-Sidecar-Token, if it is set, or a token of Callers.
	CallerToken upstream.Secret
	// Callers are further tokens that may come there, one a line, with the name of the caller
	// and white space before it; the name goes into the access log. Empty lines and lines that
	// begin with # do not count.
	Callers upstream.Secret
	// ReplayMethods are those whose requests may be sent again after a 401.
	ReplayMethods []string
	// ReplayLimit is the largest body, in bytes, that is kept while its request is under
	// way, so that it can be sent again: after a 401, or, whatever the method, if an
	// HTTP/2 target says that it has not processed the request. Zero means that no body
	// is kept.
	ReplayLimit int64
	// TargetTimeout bounds the time from sending a request to the head of its answer. It
	// must be positive.
	TargetTimeout time.Duration
	// Allow has the allow lists of upstreams by their names; all their routes go by them.
	Allow map[string]AllowList
	// Vend names the routes whose tokens may be handed to the app itself. Each must
	// require a subject and have no allow list.
	Vend []string
	// TokenTimeout bounds the wait for header fields that an API wants beside the token. It
	// must be positive if a route has any.
	TokenTimeout time.Duration
	// Audit gets lines about the requests for subjects; nil means none. The proxy does not
	// close it.
	Audit *Audit
	// Roots are the certificate authorities for targets; nil means the system's.
	Roots *x509.CertPool
	// Egress is the proxy that leads to targets; nil means that connections are direct.
	Egress *egress.Proxy
	// MaxTargetConnections is how many connections to targets there should be: those that no
	// request uses are closed before one more is opened. Zero means any number.
	MaxTargetConnections int

	// Tests run on all ways: with both left out, and with the first alone.
	noLeanServer bool // leave net/http's server nothing out
	general      bool // leave the lean way to targets out
}

// Proxy forwards requests by its routes. Its methods and handlers are safe for concurrent
// use.
type Proxy struct {
	config  Config
	routes  map[string]*route // by name
	callers *callers          // nil if everybody may call
	noRoute *metrics.Upstream // series of requests that reached no route
	targets []*connections    // in the order of the configuration

	keptBodies atomic.Int64 // bytes reserved for the small bodies of all requests under way
}

// New returns a Proxy with the routes of config.Upstreams. It opens no connection. It
// fails if two routes have one name, if config.Vend names a route that cannot be vended, or
// if config.Callers cannot be read.
func New(config Config) (*Proxy, error) {
	callers, err := newCallers(config.CallerToken, config.Callers)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		config:  config,
		callers: callers,
		routes:  map[string]*route{},
		noRoute: config.Metrics.Upstream("none"),
	}
	for _, u := range config.Upstreams {
		series := config.Metrics.Upstream(u.Name())
		targets := map[string]*connections{} // the routes of one upstream share those to a target
		for _, r := range u.Routes() {
			if p.routes[r.Name] != nil {
				return nil, fmt.Errorf("two routes are named %q", r.Name)
			}
			origin := r.Target.Scheme + "://" + r.Target.Host
			if targets[origin] == nil {
				targets[origin] = newConnections(p, r, u.Name(), series)
				p.targets = append(p.targets, targets[origin])
			}
			p.routes[r.Name] = newRoute(r, u, targets[origin], series)
			p.routes[r.Name].allowed = config.Allow[u.Name()]
		}
	}
	return p, p.allowVend()
}

// routeOf returns the route of that name.
func (p *Proxy) routeOf(name string) (*route, error) {
	if p.routes[name] == nil {
		return nil, fmt.Errorf("no route is named %q", name)
	}
	return p.routes[name], nil
}

// CloseIdleConnections closes the connections to targets that no request uses now. It does
// not block.
func (p *Proxy) CloseIdleConnections() {
	for _, c := range p.targets {
		c.sets.closeIdle()
	}
}

// Connections returns how many connections to the targets of each upstream there are, in
// the order of the configuration. It does not block on I/O.
func (p *Proxy) Connections() []metrics.Connections {
	var all []metrics.Connections
	for _, c := range p.targets {
		if len(all) == 0 || all[len(all)-1].Upstream != c.upstream {
			all = append(all, metrics.Connections{Upstream: c.upstream})
		}
		c.addTo(&all[len(all)-1])
	}
	return all
}

// exchange is one request of an app and the answer to it. It belongs to the goroutine of its
// connection, or of its handler where net/http serves that. On the general way informational
// answers are handled on the goroutine of the Transport, while the handler waits for RoundTrip.
type exchange struct {
	proxy *Proxy
	in    *http.Request
	out   responseWriter
	began time.Time

	caller   string  // its name, if it has one
	auditID  uint64  // of its lines in the audit; 0 before the first of them
	decision         // what the request is for
	attempt  attempt // the latest
	upload   *upload // the body as the app sends it; nil if there is none
	// fits reports whether the leanConn that serves the request can answer it, now that it is
	// known what it is for, or that it is refused. It is nil if net/http serves the request.
	fits    func(refused bool) bool
	notLean bool // it cannot: the request goes to net/http as if nobody had looked at it

	informational int           // how many informational answers have come; the transport owns it until RoundTrip has returned
	waited        time.Duration // for tokens
	problem       string        // code of the problem that the app was told, or that ended the answer; empty if there is none
	cause         string        // what the target did wrong, if that is the problem
}

// serve answers the request. fixed is the route of a listener that has only one, and else
// nil.
func (x *exchange) serve(fixed *route) {
	defer x.end()
	if err := x.answer(fixed); err == errNotLean {
		x.notLean = true
	} else if err != nil {
		x.fail(err)
	}
}

// judge finds out who asks, and for what. Its error says why the request is refused.
func (x *exchange) judge(fixed *route) (err error) {
	if x.caller, err = x.proxy.guard(x.in); err != nil {
		return err
	}
	if fixed == nil && asksForToken(x.in) {
		x.decision, err = x.proxy.decideVend(x.in)
	} else {
		x.decision, err = x.proxy.decide(x.in, fixed)
	}
	return err
}

// answer takes the request through all steps. Its error says why it was refused or failed.
func (x *exchange) answer(fixed *route) (err error) {
	err = x.judge(fixed)
	if x.fits != nil && !x.fits(err != nil) {
		return errNotLean
	}
	if err != nil {
		return err
	}
	if x.vend {
		return x.handOn()
	}
	if err := x.readSmallBody(); err != nil {
		return err
	}
	return x.forward()
}

// end counts and logs the exchange and discards what is left of the body. It keeps a panic
// from printing what it holds.
func (x *exchange) end() {
	r := recover()
	if x.notLean {
		x.discardBody()
		return
	}
	defer x.discardBody()
	broken := r != nil // the answer must not look whole, and the connection must end
	switch {
	case r == nil:
	case r != http.ErrAbortHandler:
		x.proxy.config.Log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("request handler panicked")
		if x.out.status == 0 {
			x.fail(errInternal)
			broken = false
		}
	case x.out.status != 0 && x.out.status != statusClientClosed:
		x.brokeOff()
		// A client that got nothing at all may send its request again.
		_ = http.NewResponseController(x.out.ResponseWriter).Flush()
	}
	x.observe()
	x.auditEnd()
	if broken {
		if c := x.appConn(); c != nil && !x.in.ProtoAtLeast(1, 1) {
			c.abort() // an answer that ends with its connection would look whole
		}
		panic(http.ErrAbortHandler)
	}
}
