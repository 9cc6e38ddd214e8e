// Package proxy answers the app's requests: guard, route, key, body, token, forward,
// judge, observe. A connection of an app is made by server.go with halfclose.go. Each
// step has a file of its own: guard.go with hosts.go; route.go with path.go; body.go for
// what the app sends; slots.go for how many requests go on at a time; lean.go with
// lean_head.go for requests over HTTP/1.1 connections that are kept; forward.go with
// rewrite.go, watch.go and stall.go for all others; replay.go with challenge.go; answer.go
// with answer_framing.go, answer_token.go, informational.go and redirect.go, below which
// are reference.go and link.go; observe.go. problem.go is the one place where errors
// become statuses. connections.go has the connections to a target, of which
// internal/targetconn knows the rest.
package proxy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Config configures a Proxy.
type Config struct {
	// Upstreams are the remote APIs; the names of their routes are distinct.
	Upstreams []upstream.Upstream
	// Cache gives the tokens. The proxy does not close it.
	Cache *cache.Cache
	// Metrics receives the request series. Required.
	Metrics *metrics.Metrics
	// Log receives one line per request, at level info.
	Log zerolog.Logger
	// Hosts are those that requests may be addressed to.
	Hosts Hosts
	// CallerToken must come in X-Sidecar-Token, if it is set.
	CallerToken upstream.Secret
	// ReplayMethods are those whose requests may be sent again after a 401.
	ReplayMethods []string
	// ReplayLimit bounds, in bytes, the bodies that are kept while their requests
	// are under way, so that these can be sent again: after a 401, or, whatever the
	// method, if an HTTP/2 target says that it has not processed them. Zero means
	// that only requests without a body are.
	ReplayLimit int64
	// TargetTimeout bounds the time until a target's response header, after
	// the request was sent. Zero means none.
	TargetTimeout time.Duration
	// Vend names the routes whose tokens may be handed to the app itself. Each
	// must require a subject.
	Vend    []string
	general bool // leave the lean way out: tests run both ways

	// Roots are the certificate authorities for targets; nil means the system's.
	Roots *x509.CertPool
}

// Proxy holds the routes. Its handlers are safe for concurrent use.
type Proxy struct {
	config  Config
	routes  map[string]*route   // by name
	byHost  map[string][]*route // by the target's host, as absolute-form requests name it
	vends   map[string]bool     // names of routes whose tokens may be handed on
	nowhere *metrics.Upstream   // series of requests that reached no route
	targets []target            // in the order of the configuration

	keptBodies atomic.Int64 // bytes of the small bodies of all requests under way
}

// New returns a Proxy with the routes of config.Upstreams.
func New(config Config) (*Proxy, error) {
	p := &Proxy{
		config:  config,
		routes:  map[string]*route{},
		byHost:  map[string][]*route{},
		vends:   map[string]bool{},
		nowhere: config.Metrics.Upstream("none"),
	}
	for _, u := range config.Upstreams {
		series := config.Metrics.Upstream(u.Name())
		targets := map[string]*connections{} // one per target: own connections, own limits
		for _, r := range u.Routes() {
			if p.routes[r.Name] != nil {
				return nil, fmt.Errorf("two routes are named %q", r.Name)
			}
			at := r.Target.Scheme + "://" + r.Target.Host
			if targets[at] == nil {
				targets[at] = newConnections(config, r, u.Name(), series)
				p.targets = append(p.targets, target{u.Name(), targets[at]})
			}
			p.addRoute(newRoute(r, u, targets[at], series))
		}
	}
	return p, p.checkVend()
}

// Handler serves all routes, by path prefix or absolute-form target.
func (p *Proxy) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, nil) })
}

// RouteHandler serves one route whatever the path: a listener of its own for
// clients that can set no more than a host. It fails if no route has the name.
func (p *Proxy) RouteHandler(name string) (http.Handler, error) {
	route := p.routes[name]
	if route == nil {
		return nil, fmt.Errorf("no route is named %q", name)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, route) }), nil
}

// CloseIdleConnections closes connections to targets that nobody uses now.
func (p *Proxy) CloseIdleConnections() {
	for _, t := range p.targets {
		t.connections.closeIdle()
	}
}

// exchange is one request on its way. It belongs to the goroutine of its
// handler.
type exchange struct {
	proxy *Proxy
	in    *http.Request
	out   responseWriter
	began time.Time

	route *route
	key   upstream.Key
	path  string // of the request to the target, escaped
	query string // with its question mark, if it has one

	subjectInPath string // its segment, "/~…", as it came; "" if the subject is not there
	dedicated     bool   // the listener has one route, so that paths do not name it

	upload  *upload        // the body as the app sends it; nil if there is none
	small   *smallBody     // the same, if it is small; it may be on its way still
	body    []byte         // the same, once all of it is here
	upgrade bool           // the request asks for a WebSocket
	sent    upstream.Token // last
	lapsed  error          // why there was no other when the token had expired before it was sent
	answer  answerBody
	stall   *stall    // bounds the sending on the general way; nil on the lean way
	cut     func()    // ends the request on the general way; nil on the lean way
	tunnel  io.Closer // upgraded connection to the target

	informational int           // answers so far; owned by the transport until the real one is there
	waited        time.Duration // for a token
	problem       string        // code of the problem the app was sent, if any
}

// serve takes one request all the way. fixed is the route of a listener that
// has only one.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, fixed *route) {
	x := &exchange{proxy: p, in: r, began: time.Now()}
	x.out = responseWriter{ResponseWriter: w, last: r.ProtoMinor == 0 || len(r.TransferEncoding) > 0}
	if r.ContentLength != 0 {
		x.upload = newUpload(w, r)
		x.out.upload = x.upload
	}
	defer x.end()
	if err := p.guard(r); err != nil {
		x.fail(err)
		return
	}
	if fixed == nil && strings.HasPrefix(r.RequestURI, vendPrefix) {
		if err := x.vend(); err != nil {
			x.fail(err)
		}
		return
	}
	if err := x.resolve(fixed); err != nil {
		x.fail(err)
		return
	}
	if err := x.keepBody(); err != nil {
		x.fail(err)
		return
	}
	x.forward()
}

// end observes the exchange and keeps a panic from printing what it holds.
func (x *exchange) end() {
	r := recover()
	defer func() { x.leaveBody(r == nil) }()
	if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		if x.out.status != 0 && x.out.status != statusClientClosed {
			// A client that got nothing at all may send its request again.
			_ = http.NewResponseController(x.out.ResponseWriter).Flush()
		}
		x.observe()
		panic(http.ErrAbortHandler) // the answer broke off: so must the connection
	}
	if r != nil {
		x.proxy.config.Log.Error().Str("panic", fmt.Sprintf("%T", r)).Msg("request handler panicked")
		if x.out.status != 0 {
			x.observe()
			panic(http.ErrAbortHandler) // half an answer must not look whole
		}
		x.fail(errInternal)
	}
	x.observe()
}

func (p *Proxy) addRoute(r *route) {
	p.routes[r.Name] = r
	p.byHost[r.askedHost()] = append(p.byHost[r.askedHost()], r)
}

func (p *Proxy) mayReplay(method string) bool { return slices.Contains(p.config.ReplayMethods, method) }
