package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

// Case B13.
func TestUntrustedCertificateIsRefused(t *testing.T) {
	target := newTLSTarget(t, 0)
	for name, roots := range target.roots {
		s := newSide(t, setup{config: func(c *Config) { c.Roots = roots }, upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.oauth2("alpha", target.url)}
		}})
		a := s.get("/alpha/x")
		if name == "trusted" {
			if a.status != 200 || a.body != "over TLS" {
				t.Errorf("trusted: %d %s", a.status, a.body)
			}
			continue
		}
		a.problem(t, 502, "target_unreachable")
		if got := a.header.Get("Proxy-Status"); !strings.Contains(got, "tls_certificate_error") {
			t.Errorf("%s: Proxy-Status is %q", name, got)
		}
	}
	if n := target.served.Load(); n != 1 {
		t.Errorf("%d requests were sent, want the trusted one", n)
	}
	// A certificate for another name, and a version of TLS that is too old.
	old := newTLSTarget(t, tls.VersionTLS11)
	for name, at := range map[string]*tlsTarget{strings.Replace(target.url, "127.0.0.1", "localhost", 1): target, old.url: old} {
		served := at.served.Load()
		s := newSide(t, setup{config: func(c *Config) { c.Roots = at.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.oauth2("alpha", name)}
		}})
		s.get("/alpha/x").problem(t, 502, "target_unreachable")
		if at.served.Load() != served {
			t.Errorf("%s: a request was sent", name)
		}
	}
}

// TestOnlyGoodKeptConnectionsOverTLSAreUsed: what the sidecar looks at before it uses a kept
// connection lies below TLS. One that is good is used, one that is not is not.
func TestOnlyGoodKeptConnectionsOverTLSAreUsed(t *testing.T) {
	eitherWay(t) // the general way keeps none that speak HTTP/1.1
	target := newTLSTarget(t, 0)
	target.serve = func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) }
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", target.url)}
	}})
	post := func() string {
		a := s.send("POST", "/alpha/x", "body")
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a.body
	}
	const requests = 20
	used := map[string]bool{}
	for range requests {
		used[post()] = true
	}
	if len(used) != 1 {
		t.Errorf("%d connections for %d requests", len(used), requests)
	}
	for range requests {
		target.CloseClientConnections()
		if now := post(); used[now] {
			t.Errorf("connection %s lives on", now)
		}
	}
	if s.proxy.Connections()[0].Distrusted {
		t.Error("the end of TLS (close_notify) passes for bytes unasked")
	}
}

// A new connection resumes the TLS session of an earlier one, on either way, so that
// connections of one key, or for one request, stay cheap.
//
// Case P1.
func TestTLSSessionsAreResumed(t *testing.T) {
	target := newTLSTarget(t, 0)
	target.TLS.NextProtos = []string{"http/1.1"}
	target.serve = func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.RemoteAddr, r.TLS.DidResume) }
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{subjects(target.url)}
	}})
	resumed := 0
	for _, subject := range []string{"a", "b", "c", "d", "e"} {
		if a := s.get("/mydatahelps.participant/x", subjectHeader+": "+subject); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		} else if strings.HasSuffix(a.body, "true") {
			resumed++
		}
	}
	if resumed < 3 { // the first on each way cannot
		t.Errorf("%d of 5 connections resumed a session", resumed)
	}
}

// TestLongAnswersOverTLSArriveAsTheyAreSent: each piece of an answer of known length is here before the
// target sends the next, and the connection serves the next request.
func TestLongAnswersOverTLSArriveAsTheyAreSent(t *testing.T) {
	if *general {
		t.Skip("net/http holds up to 4 KiB of an answer of known length back")
	}
	const size = 200 << 10
	target := newTLSTarget(t, 0)
	arrived := make(chan int, 1)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), size/16)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		for rest := sent; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)/3)
			_, _ = w.Write(rest[:n])
			_ = http.NewResponseController(w).Flush()
			rest = rest[n:]
			for size-len(rest) > <-arrived {
			}
		}
	}
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] },
		upstreams: func(s *side) []upstream.Upstream { return []upstream.Upstream{s.oauth2("alpha", target.url)} }})
	for range 3 {
		res, err := http.Get("http://" + s.addr + "/alpha/x")
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 0, size)
		for err == nil {
			var n int
			n, err = res.Body.Read(got[len(got):min(cap(got), len(got)+5000)])
			if got = got[:len(got)+n]; n > 0 {
				arrived <- len(got)
			}
		}
		_ = res.Body.Close()
		if err != io.EOF || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}
