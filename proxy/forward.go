package proxy

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"token-sidecar/upstream"
)

// forward sends the request on and the answer back. Streams flow both ways as
// they come. The exchange is its own RoundTripper, so that the token is set
// after everything a client sends was dealt with, and nothing of it can take
// the token off again.
func (x *exchange) forward() {
	forwarder := httputil.ReverseProxy{
		Rewrite:        x.rewrite,
		Transport:      x,
		ModifyResponse: x.filter,
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { x.fail(err) },
		ErrorLog:       quiet, // its lines quote errors of net/http; the access log says what counts
		BufferPool:     buffers,
	}
	forwarder.ServeHTTP(&x.out, x.in)
}

// rewrite points the request at the target. ReverseProxy has removed the
// hop-by-hop and Forwarded headers by now.
func (x *exchange) rewrite(r *httputil.ProxyRequest) {
	target := x.route.Target
	query := strings.TrimPrefix(x.query, "?")
	// Opaque is sent byte for byte; Path would be escaped anew.
	r.Out.URL = &url.URL{Scheme: target.Scheme, Host: target.Host, Opaque: x.path,
		RawQuery: query, ForceQuery: query == "" && x.query != ""}
	r.Out.Host = ""
	h := r.Out.Header
	for _, name := range dropped {
		delete(h, name)
	}
	if target.Scheme == "http" {
		// Only plain HTTP can lead to another sidecar.
		h[loopHeader] = append(h[loopHeader], loopID)
	}
}

// dropped are request headers that end here: ours, and those by which a client
// could make a server behind the target see another path, method or sender.
var dropped = []string{
	subjectHeader, scopeHeader, routeHeader, callerHeader,
	"Proxy-Authorization", "Via", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Port",
	"X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Uri", "X-Forwarded-User", "X-Forwarded-Email",
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "Proxy",
}

// RoundTrip sets the token, sends the request, and judges a 401.
func (x *exchange) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := x.token()
	if err != nil {
		return nil, tokenError{err}
	}
	res, err := x.send(req, token)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	return x.again(req, res, token)
}

func (x *exchange) token() (upstream.Token, error) {
	before := time.Now()
	token, err := x.proxy.config.Cache.Token(x.in.Context(), x.key)
	x.waited += time.Since(before)
	return token, err
}

func (x *exchange) send(req *http.Request, token upstream.Token) (*http.Response, error) {
	req.Header["Authorization"] = []string{token.Authorization()}
	x.setBody(req)
	return x.route.transport.RoundTrip(req)
}

// filter removes what makes no sense, or does harm, coming from loopback: both
// would bind the client to a property of the target's origin.
func (x *exchange) filter(res *http.Response) error {
	delete(res.Header, "Alt-Svc")
	delete(res.Header, "Strict-Transport-Security")
	return nil
}

var quiet = log.New(io.Discard, "", 0)

// bufferPool keeps the buffers that bodies are copied through.
type bufferPool struct{ sync.Pool }

const bufferSize = 32 << 10

var buffers = &bufferPool{sync.Pool{New: func() any { return new([bufferSize]byte) }}}

// Get implements [httputil.BufferPool].
func (p *bufferPool) Get() []byte { return p.Pool.Get().(*[bufferSize]byte)[:] }

// Put implements [httputil.BufferPool].
func (p *bufferPool) Put(b []byte) { p.Pool.Put((*[bufferSize]byte)(b)) }
