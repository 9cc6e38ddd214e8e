package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// TestUnaskedAnswerWithinTLSReachesNobody has a target send a second answer right behind
// the first, where no look at the socket finds it: in the same segment.
//
// Case G5.
func TestUnaskedAnswerWithinTLSReachesNobody(t *testing.T) {
	const first, unasked = "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nUNASKED"
	fill := "HTTP/1.1 200 OK\r\nX-Fill: " + strings.Repeat("x", 4096-len("HTTP/1.1 200 OK\r\nX-Fill: \r\nContent-Length: 0\r\n\r\n")) +
		"\r\nContent-Length: 0\r\n\r\n" // as much as is read at a time
	for name, c := range map[string]struct {
		records []string
		hold    int  // bytes of the last record that come later
		seen    bool // it can be seen at once that they are unasked
	}{
		"nothing":        {[]string{first}, 0, false},
		"whole record":   {[]string{first, unasked}, 0, true},
		"same record":    {[]string{first + unasked}, 0, true},
		"full buffer":    {[]string{fill + unasked}, 0, true},
		"part":           {[]string{first, unasked}, 5, false},
		"header of one":  {[]string{first, unasked}, 17 + len(unasked) + 2, false}, // RFC 8446 section 5.2: 17 bytes more than what is sent
		"empty and then": {[]string{first, "", unasked}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			roots, address, connections := lumpingTarget(t, c.records, c.hold)
			s := newSide(t, setup{config: func(config *Config) { config.Roots = roots }, upstreams: func(s *side) []upstream.Upstream {
				return []upstream.Upstream{s.oauth2("alpha", "https://"+address)}
			}})
			for range 3 {
				if a := s.get("/alpha/x"); strings.Contains(a.body, "UNASKED") || a.status == 502 {
					t.Errorf("%d %q", a.status, a.body)
				}
			}
			if distrusted := s.proxy.Connections()[0].Distrusted; distrusted != (c.seen && !*general) {
				t.Errorf("distrusted is %t", distrusted)
			}
			if n := connections(); name == "nothing" && n != 1 && !*general {
				t.Errorf("%d connections, want one that is kept", n)
			}
		})
	}
}

// lumpingTarget answers the first request on each connection with the given records
// at once, all but the last hold bytes, which come with the answer to the next.
// Later requests are answered with 204.
func lumpingTarget(t *testing.T, recs []string, hold int) (*x509.CertPool, string, func() int) {
	t.Helper()
	donor := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(donor.Close)
	roots := x509.NewCertPool()
	roots.AddCert(donor.Certificate())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	opened := make(chan struct{}, 100)
	go func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			opened <- struct{}{}
			go func() {
				defer raw.Close()
				lump := &lumped{Conn: raw}
				c := tls.Server(lump, &tls.Config{Certificates: donor.TLS.Certificates, NextProtos: []string{"http/1.1"},
					MinVersion: tls.VersionTLS13})
				in := bufio.NewReader(c)
				for n := 0; ; n++ {
					if _, err := http.ReadRequest(in); err != nil {
						return
					}
					answers := recs
					if n > 0 {
						answers = []string{"HTTP/1.1 204 No Content\r\n\r\n"}
					}
					lump.gather = true
					for _, a := range answers {
						if _, err := io.WriteString(c, a); err != nil {
							return
						}
					}
					if !lump.flush(hold) {
						return
					}
				}
			}()
		}
	}()
	return roots, l.Addr().String(), func() int { return len(opened) }
}

// lumped sends what is written to it in one piece.
type lumped struct {
	net.Conn
	gather bool
	kept   bytes.Buffer
}

func (l *lumped) Write(b []byte) (int, error) {
	if l.gather {
		return l.kept.Write(b)
	}
	return l.Conn.Write(b)
}

// flush sends all but the last hold bytes.
func (l *lumped) flush(hold int) bool {
	_, err := l.Conn.Write(l.kept.Next(l.kept.Len() - min(hold, l.kept.Len())))
	return err == nil
}
