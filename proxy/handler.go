package proxy

import (
	"net/http"
	"time"
)

// Handler returns a handler that serves all routes, by path prefix or absolute-form target.
func (p *Proxy) Handler() http.Handler { return &handler{p, nil} }

// RouteHandler returns a handler that serves one route whatever the path: a listener of
// its own is for clients that can set no more than a host. It fails if no route has the
// name.
func (p *Proxy) RouteHandler(name string) (http.Handler, error) {
	route, err := p.routeOf(name)
	return &handler{p, route}, err
}

// handler serves the routes of a Proxy, or one of them.
type handler struct {
	proxy *Proxy
	fixed *route // of a listener that has only one, and else nil
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{proxy: h.proxy, in: r, began: time.Now()}
	x.out = responseWriter{ResponseWriter: w, last: r.ProtoMinor == 0 || len(r.TransferEncoding) > 0}
	if r.ContentLength != 0 {
		x.upload = newUpload(w, r)
		x.out.upload = x.upload
	}
	x.serve(h.fixed)
}

// leanServer reports whether a leanConn may serve requests.
func (p *Proxy) leanServer() bool { return !p.config.noLeanServer && !p.config.general }

// observeRefused counts a request that no handler got to see, by a method that may be unknown, and
// writes its line.
func (p *Proxy) observeRefused(why *problem, method string) {
	x := &exchange{proxy: p, in: &http.Request{Method: method}, began: time.Now(), problem: why.code}
	x.out.status = why.status
	if method != http.MethodHead {
		x.out.size = int64(len(why.document()))
	}
	x.observe()
}
