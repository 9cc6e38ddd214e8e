package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/upstream"
)

// Frames of HTTP/2 (RFC 9113 section 6).
const (
	frameData     = 0x0
	frameHeaders  = 0x1
	frameReset    = 0x3
	frameSettings = 0x4
	frameGoAway   = 0x7
	endOfStream   = 0x1
	endOfHeaders  = 0x4
	refusedStream = 0x7
)

// Statuses of HTTP/2, in HPACK (RFC 7541).
const (
	statusOK        = "\x88"
	statusSwitching = "\x08\x03101"
)

// unwillingTarget speaks HTTP/2. It does not process the first requests, which it says by
// refusing the stream or by leaving, and answers all later ones.
type unwillingTarget struct {
	net.Listener
	roots   *x509.CertPool
	leaves  bool
	refuses int    // how many requests it does not process
	status  string // of its answers

	mu       sync.Mutex // guards all below
	requests int
	bodies   []string // of those it processed
}

// donor returns a server of which only the certificate counts.
func donor(t *testing.T) *httptest.Server {
	donor := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(donor.Close)
	return donor
}

func newUnwillingTarget(t *testing.T, l net.Listener, donor *httptest.Server, leaves bool) *unwillingTarget {
	t.Helper()
	u := &unwillingTarget{Listener: l, roots: x509.NewCertPool(), leaves: leaves, refuses: 1, status: statusOK}
	u.roots.AddCert(donor.Certificate())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := u.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer context.AfterFunc(t.Context(), func() { _ = c.Close() })()
				u.talk(tls.Server(c, &tls.Config{Certificates: donor.TLS.Certificates, NextProtos: []string{"h2"}}))
			})
		}
	})
	t.Cleanup(func() {
		_ = u.Close()
		all.Wait()
	})
	return u
}

func (u *unwillingTarget) talk(c net.Conn) {
	defer c.Close()
	if _, err := io.ReadFull(c, make([]byte, 24)); err != nil { // the client's preface
		return
	}
	frames := make(chan []byte, 100) // written beside, since a pipe takes nothing while the other side writes
	defer close(frames)
	go func() {
		for frame := range frames {
			_, _ = c.Write(frame)
		}
	}()
	write := func(kind, flags byte, stream uint32, payload ...byte) {
		frame := append([]byte{0, 0, byte(len(payload)), kind, flags, 0, 0, 0, 0}, payload...)
		binary.BigEndian.PutUint32(frame[5:], stream)
		frames <- frame
	}
	write(frameSettings, 0, 0)
	bodies := map[uint32]string{}
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			return
		}
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		switch kind {
		case frameHeaders:
			bodies[stream] = ""
			if u.refused() {
				delete(bodies, stream)
				if u.leaves {
					write(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // no stream was processed, no error
				} else {
					write(frameReset, 0, stream, 0, 0, 0, refusedStream)
				}
				continue
			}
		case frameData:
			if _, ours := bodies[stream]; ours {
				bodies[stream] += string(payload)
			}
		case frameSettings:
			if flags == 0 {
				write(frameSettings, 1, 0)
			}
			continue
		default:
			continue
		}
		if body, ours := bodies[stream]; ours && flags&endOfStream != 0 {
			u.mu.Lock()
			u.bodies = append(u.bodies, body)
			u.mu.Unlock()
			flags := byte(endOfHeaders)
			if u.status == statusOK {
				flags |= endOfStream
			}
			write(frameHeaders, flags, stream, []byte(u.status)...)
		}
	}
}

func (u *unwillingTarget) refused() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests++
	return u.requests <= u.refuses
}

// A request that an HTTP/2 target has not processed is sent again, whatever its method,
// with the whole of its body, and once.
//
// Case P9.
func TestUnprocessedRequestsAreSentAgain(t *testing.T) {
	for name, leaves := range map[string]bool{"stream refused": false, "target leaves": true} {
		for _, c := range []struct{ method, body string }{{"POST", "small"}, {"PUT", "small"}, {"PATCH", "small"}, {"POST", ""}, {"GET", ""}} {
			target := newUnwillingTarget(t, listen(t), donor(t), leaves)
			s := newSide(t, setup{config: func(config *Config) { config.Roots = target.roots }, upstreams: func(*side) []upstream.Upstream {
				return []upstream.Upstream{subjects("https://" + target.Addr().String())}
			}})
			a := s.send(c.method, "/mydatahelps.participant/x", c.body, subjectHeader+": alice")
			target.mu.Lock()
			if a.status != 200 || len(target.bodies) != 1 || target.bodies[0] != c.body || target.requests != 2 {
				t.Errorf("%s, %s %q: %d %q; it saw %d requests and processed %q", name, c.method, c.body, a.status, a.body, target.requests, target.bodies)
			}
			target.mu.Unlock()
			s.proxy.CloseIdleConnections()
		}
	}
}

// A small body of which a part is still on its way is sent again from its start, too.
//
// Case P9.
func TestBodiesOnTheirWayAreSentAgain(t *testing.T) {
	target := newUnwillingTarget(t, listen(t), donor(t), false)
	s := newSide(t, setup{config: func(config *Config) { config.Roots = target.roots }, upstreams: func(*side) []upstream.Upstream {
		return []upstream.Upstream{subjects("https://" + target.Addr().String())}
	}})
	conn := dialRaw(t, s.addr)
	conn.write("POST /mydatahelps.participant/x" + stalledHead + subjectHeader + ": alice\r\nContent-Length: 10\r\n\r\nfirst")
	eventually(t, "the request is refused once and sent again", func() bool {
		target.mu.Lock()
		defer target.mu.Unlock()
		return target.requests == 2
	})
	conn.write(".last")
	a := conn.read("POST")
	target.mu.Lock()
	defer target.mu.Unlock()
	if a.status != 200 || len(target.bodies) != 1 || target.bodies[0] != "first.last" {
		t.Errorf("%d %q, the target got %q", a.status, a.body, target.bodies)
	}
	s.proxy.CloseIdleConnections()
}

// A target that processes no request gets each a few times, and the app an answer within the time
// that the target has for that.
//
// Case P20.
func TestTargetThatProcessesNothingIsGivenUp(t *testing.T) {
	donor := donor(t)
	for name, c := range map[string]struct {
		leaves bool
		took   time.Duration
		status int
		code   string
	}{
		"target leaves":  {true, 0, 502, "target_unreachable"},
		"stream refused": {false, 2 * time.Second, 504, "target_timeout"}, // net/http waits for longer and longer
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				network := &pipes{}
				target := newUnwillingTarget(t, network.listen(), donor, c.leaves)
				target.refuses = 1000
				s := newSide(t, setup{pipes: network, config: func(config *Config) { config.Roots, config.TargetTimeout = target.roots, 2*time.Second },
					upstreams: func(*side) []upstream.Upstream {
						return []upstream.Upstream{subjects("https://" + target.Addr().String())}
					}})
				began, conn := time.Now(), s.dial(s.addr)
				conn.write("POST /mydatahelps.participant/x" + stalledHead + subjectHeader + ": alice\r\nContent-Length: 4\r\n\r\nbody")
				conn.read("POST").problem(t, c.status, c.code)
				target.mu.Lock()
				defer target.mu.Unlock()
				if took := time.Since(began); took != c.took || target.requests > maxTries {
					t.Errorf("after %v, and %d requests", took, target.requests)
				}
				s.proxy.CloseIdleConnections()
			})
		})
	}
}

// A switch of protocols that nobody has asked for does not reach the app over HTTP/2, either, where
// there is none (RFC 9113 section 8.6).
func TestSwitchOverHTTP2IsNoAnswer(t *testing.T) {
	target := newUnwillingTarget(t, listen(t), donor(t), false)
	target.refuses, target.status = 0, statusSwitching
	s := newSide(t, setup{config: func(config *Config) { config.Roots = target.roots }, upstreams: func(*side) []upstream.Upstream {
		return []upstream.Upstream{subjects("https://" + target.Addr().String())}
	}})
	s.get("/mydatahelps.participant/x", subjectHeader+": alice").problem(t, 502, "target_unreachable")
	s.proxy.CloseIdleConnections()
}
