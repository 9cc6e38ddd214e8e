// Package upstreamtest simulates the token endpoints and APIs of the
// providers, as net/http/httptest simulates a server. Each simulation is
// strict: it refuses what the provider's published contract does not allow, so
// that a client which passes here asks in the documented way.
//
// There is one file for each provider, which says what it takes and how it answers:
// pdx.go with its First Time Connections in pdx_connection.go, oclc.go with the older
// signature in oclc_hmac.go, mydatahelps.go, humanapi.go, endpoint.go for one of any rules,
// whose requests rules.go judges, with assertionrules.go for their assertions and
// clientcert.go for the certificates of clients, and oauth2.go for any other with client credentials. All of them are a Server, in server.go, which
// receives token requests. assertion.go verifies the proof of a client; api.go is the API
// that takes the tokens, which tokens.go issues and remembers. A test chooses what is
// simulated by options.go, and reads in log.go what was asked. call.go is one token
// request on its way; faults.go has the answers, and a test may put one of its own
// in their place.
//
// Where no public source says what a provider answers, the doc comment of its
// constructor says what was decided here. Common to all: a token request to
// another path is answered 404, another method than POST 405, a body of more
// than 1 MiB 413.
package upstreamtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Server is one simulated provider: a token endpoint and one or more API
// hosts, each on its own listener at 127.0.0.1, plain HTTP unless it wants client
// certificates. Every method is
// safe for concurrent use. Close it when done.
type Server struct {
	name       string
	opts       Options
	id, secret string
	provider   provider
	tokenPaths []string // the first is the one clients should use
	tokenURL   string
	other      func(*http.Request) *Answer // answers what is no token request; nil: the method of those is POST
	apiURLs    map[string]string           // by host name; "" is the main one

	tokens     ledger
	log        record
	faults     faults
	assertions seenOnce // jti of client assertions
	nonces     seenOnce // of signed requests

	connections connections // First Time Connections of PDX

	tls *tls.Config // nil: plain HTTP
	ca  string      // of its certificate, in PEM

	servers []*http.Server
	serving sync.WaitGroup  // accept loops
	running sync.WaitGroup  // connections and handlers
	closed  context.Context // ends with close: delays, holds and hangs do too
	close   context.CancelFunc
	closing sync.Once

	connsMu sync.Mutex        // guards conns
	conns   map[net.Conn]bool // that clients have made
}

// provider is what differs between the simulated providers.
type provider interface {
	// subject returns on whose behalf a token is asked for, "" for the client
	// itself or if the request does not say.
	subject(*call) string
	// exchange answers a POST to one of the token paths.
	exchange(*call) *Answer
	// api answers a request to an API host. g is nil unless the request
	// carries a valid token of this server.
	api(host string, r *http.Request, g *Grant, bodyBytes int64) *Answer
}

// newServer applies the defaults of o. The id and secret stand unless o has others.
func newServer(name, id, secret string, o Options) *Server {
	if o.ClientID != "" {
		id = o.ClientID
	}
	if o.ClientSecret != "" {
		secret = o.ClientSecret
	}
	s := &Server{name: name, opts: o, id: id, secret: secret, apiURLs: map[string]string{}, conns: map[net.Conn]bool{}}
	s.closed, s.close = context.WithCancel(context.Background())
	s.tokens.keep, s.log.size = o.KeepExpired, cmp.Or(o.LogSize, maxLog)
	s.SetLifetime(o.Lifetime)
	return s
}

// start listens for the token endpoint, the main API host and the named further ones.
func (s *Server) start(p provider, tokenPaths []string, hosts ...string) *Server {
	s.provider, s.tokenPaths = p, tokenPaths
	scheme := "http://"
	if s.tls != nil {
		scheme = "https://"
	}
	listeners := []net.Listener{listen()}
	s.tokenURL = scheme + listeners[0].Addr().String() + tokenPaths[0]
	s.servers = []*http.Server{s.httpServer(http.HandlerFunc(s.serveToken))}
	for _, host := range append([]string{""}, hosts...) {
		l := listen()
		s.apiURLs[host] = scheme + l.Addr().String()
		listeners = append(listeners, l)
		s.servers = append(s.servers, s.httpServer(s.apiHandler(host)))
	}
	// Only now: handlers read the fields set above.
	for i, l := range listeners {
		s.serving.Go(func() {
			if s.tls == nil {
				_ = s.servers[i].Serve(l)
			} else {
				_ = s.servers[i].ServeTLS(l, "", "")
			}
		})
	}
	return s
}

// listen panics on failure, as httptest does: there is no test without a listener.
func listen() net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("upstreamtest: listen on loopback: %v", err))
	}
	return l
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         s.tls.Clone(),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
		ConnState: func(conn net.Conn, state http.ConnState) {
			s.connsMu.Lock()
			defer s.connsMu.Unlock()
			switch state {
			case http.StateNew:
				s.conns[conn] = true
				s.running.Add(1)
			case http.StateClosed, http.StateHijacked:
				delete(s.conns, conn)
				s.running.Done()
			}
		},
	}
}

// Connections returns how many connections clients have now, to the token endpoint
// and to the API hosts.
func (s *Server) Connections() int {
	s.connsMu.Lock()
	defer s.connsMu.Unlock()
	return len(s.conns)
}

// CloseClientConnections cuts all connections that clients have now, to the token
// endpoint and to the API hosts. New ones are accepted.
func (s *Server) CloseClientConnections() {
	s.connsMu.Lock()
	defer s.connsMu.Unlock()
	for conn := range s.conns {
		_ = conn.Close()
	}
}

// Close stops the listeners, cuts all connections, ends delays and hangs, and
// returns when every goroutine of the server has ended. Later calls wait for
// the first. A fault hook that blocks keeps Close waiting.
func (s *Server) Close() {
	s.closing.Do(func() {
		s.close()
		for _, srv := range s.servers {
			_ = srv.Close()
		}
		s.serving.Wait()
		s.running.Wait()
	})
}

// TokenURL returns the URL of the token endpoint.
func (s *Server) TokenURL() string { return s.tokenURL }

// Issuer returns the scheme and host of the token endpoint.
func (s *Server) Issuer() string { return strings.TrimSuffix(s.tokenURL, s.tokenPaths[0]) }

// APIURL returns the base URL of the provider's main API host, without a
// trailing slash.
func (s *Server) APIURL() string { return s.apiURLs[""] }

// HostURL returns the base URL of a further API host, without a trailing
// slash: "designer" of MyDataHelps, "idaas" of PDX, "discovery" of OCLC,
// "admin" of Human API. It returns "" if the provider has no such host.
func (s *Server) HostURL(host string) string { return s.apiURLs[host] }

// ClientID returns the made-up client id: the WSKey of OCLC, the service
// account of MyDataHelps.
func (s *Server) ClientID() string { return s.id }

// ClientSecret returns the made-up client secret, "" where the client
// authenticates with its private key.
func (s *Server) ClientSecret() string { return s.secret }

// PrivateKey returns the RSA key that client assertions must be signed with,
// as PEM in PKCS#1 form, as MyDataHelps hands it out. All servers of a process
// share it; making it takes a moment at the first call.
func (s *Server) PrivateKey() string { return testKey().pem }

// SetLifetime changes how long tokens live that are issued from now on. The
// wire knows whole seconds only, so fractions are dropped; less than a second
// means the default, 30 s.
func (s *Server) SetLifetime(d time.Duration) {
	if d < time.Second {
		d = 30 * time.Second
	}
	s.tokens.setLifetime(d.Truncate(time.Second))
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1) // a hijacked connection is no longer counted by itself
	defer s.running.Done()
	if s.other != nil {
		if a := s.other(r); a != nil {
			s.send(w, r, a, 0)
			return
		}
	}
	n := s.log.arrive()
	defer s.log.leave()
	c, a := readCall(w, r)
	if a == nil {
		a = s.answerToken(c, n)
	}
	logged, done := s.log.add(s.provider.subject(c), c, a)
	defer done()
	// What delays comes last: the life of a token runs while its answer is under way.
	s.hold(r.Context(), logged)
	s.send(w, r, a, s.faults.delay())
}

func (s *Server) answerToken(c *call, n int) *Answer {
	if names := controlHeaders(c.r.Header); len(names) > 0 {
		s.log.leak(names)
		return leakAnswer(names)
	}
	if a := s.faults.token(c.r, n); a != nil {
		return a.asFault()
	}
	switch {
	case !slices.Contains(s.tokenPaths, c.r.URL.EscapedPath()):
		return textAnswer(http.StatusNotFound, "no such path").because("not_found", "another path than the token endpoint's")
	case c.r.Method != http.MethodPost && s.other == nil:
		a := textAnswer(http.StatusMethodNotAllowed, "use POST").because("method_not_allowed", "method is not POST")
		a.Header.Set("Allow", http.MethodPost)
		return a
	}
	return s.provider.exchange(c)
}
