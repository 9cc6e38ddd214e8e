package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

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

// unwillingTarget speaks HTTP/2. It does not process the first request, which it says by
// refusing the stream or by leaving, and answers all later ones with 200.
type unwillingTarget struct {
	net.Listener
	roots  *x509.CertPool
	leaves bool

	mu       sync.Mutex // guards all below
	requests int
	bodies   []string // of those it processed
}

func newUnwillingTarget(t *testing.T, leaves bool) *unwillingTarget {
	t.Helper()
	donor := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(donor.Close)
	u := &unwillingTarget{Listener: listen(t), roots: x509.NewCertPool(), leaves: leaves}
	u.roots.AddCert(donor.Certificate())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := u.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
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
	write := func(kind, flags byte, stream uint32, payload ...byte) {
		frame := append([]byte{0, 0, byte(len(payload)), kind, flags, 0, 0, 0, 0}, payload...)
		binary.BigEndian.PutUint32(frame[5:], stream)
		_, _ = c.Write(frame)
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
			if u.first() {
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
			write(frameHeaders, endOfHeaders|endOfStream, stream, 0x88) // ":status: 200" (RFC 7541 appendix A)
		}
	}
}

func (u *unwillingTarget) first() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.requests++
	return u.requests == 1
}

// A request that an HTTP/2 target has not processed is sent again, whatever its method,
// with the whole of its body, and once.
//
// Case P9.
func TestUnprocessedRequestsAreSentAgain(t *testing.T) {
	for name, leaves := range map[string]bool{"stream refused": false, "target leaves": true} {
		for _, c := range []struct{ method, body string }{{"POST", "small"}, {"PUT", "small"}, {"PATCH", "small"}, {"POST", ""}, {"GET", ""}} {
			target := newUnwillingTarget(t, leaves)
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
	target := newUnwillingTarget(t, false)
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
