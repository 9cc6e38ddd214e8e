package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"token-sidecar/upstream"
)

// echoing is a sidecar before a WebSocket server that echoes, both on a network of pipes,
// with the token it was asked with and a channel that tells when a connection ended.
func echoing(t *testing.T) (s *side, seen *atomic.Value, ended chan error) {
	seen, ended = &atomic.Value{}, make(chan error, 8)
	network := &pipes{}
	l := network.listen()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Header.Get("Authorization"))
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(4 << 20)
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(context.Background())
			if err == nil && string(message) == "drop" {
				err = io.EOF
			}
			if err == nil {
				err = c.Write(context.Background(), kind, message)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	s = newSide(t, setup{pipes: network, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", "http://"+l.Addr().String())}
	}})
	return s, seen, ended
}

func (s *side) dialWebSocket(addr string) *websocket.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, "ws://"+addr+"/alpha/socket", &websocket.DialOptions{HTTPClient: s.client()})
	if err != nil {
		s.t.Fatal(err)
	}
	c.SetReadLimit(4 << 20)
	s.t.Cleanup(func() { _ = c.CloseNow() })
	return c
}

// Case G6.
func TestWebSocketPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen, ended := echoing(t)
		ctx := t.Context()
		c := s.dialWebSocket(s.addr)
		if seen.Load() != "Bearer "+tokenOf(1) {
			t.Errorf("Authorization was %q", seen.Load())
		}
		for _, message := range [][]byte{[]byte("hello"), bytes.Repeat([]byte("x"), 1<<20)} {
			if err := c.Write(ctx, websocket.MessageBinary, message); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); err != nil || !bytes.Equal(got, message) {
				t.Fatalf("%d bytes came back, %v", len(got), err)
			}
			time.Sleep(24 * time.Hour) // nobody minds a long silence
		}
		began := time.Now()
		_ = c.CloseNow() // the client drops
		<-ended
		synctest.Wait()
		if took := time.Since(began); took != 0 || !strings.Contains(s.log.String(), `"status":101`) {
			t.Errorf("the target's side ended after %v; the log says %s", took, s.log)
		}
		c = s.dialWebSocket(s.addr)
		began = time.Now()
		_ = c.Write(ctx, websocket.MessageText, []byte("drop")) // the target drops
		if _, _, err := c.Read(ctx); err == nil || time.Since(began) != 0 {
			t.Errorf("the client's side ended after %v with %v", time.Since(began), err)
		}
	})
}

// mustCut fails the test unless server cuts what is under way when the deadline of
// Shutdown passes, neither before nor later. It looks for that every 5 ms.
func mustCut(t *testing.T, server *Server) {
	t.Helper()
	const deadline = 3 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	began := time.Now()
	err := server.Shutdown(ctx)
	if late := time.Since(began) - deadline; err != context.DeadlineExceeded || late < 0 || late > 5*time.Millisecond {
		t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
	}
}

// Case H2.
func TestShutdownEndsUpgradedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, ended := echoing(t)
		addr, server := s.serve(s.proxy.Handler())
		c := s.dialWebSocket(addr)
		mustCut(t, server)
		<-ended
		if _, _, err := c.Read(t.Context()); err == nil {
			t.Error("the client's side lives on")
		}
	})
}

// Case H2.
func TestShutdownWaitsForUpgradedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := echoing(t)
		addr, server := s.serve(s.proxy.Handler())
		c := s.dialWebSocket(addr)
		synctest.Wait()
		if n := server.open.Load(); n != 1 {
			t.Errorf("%d connections are counted while one is upgraded", n)
		}
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		began := time.Now()
		go func() { done <- server.Shutdown(ctx) }()
		time.Sleep(patience / 2)
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			t.Error(err)
		}
		if _, _, err := c.Read(ctx); err != nil {
			t.Error(err)
		}
		_ = c.CloseNow()
		err := <-done
		if late := time.Since(began) - patience/2; err != nil || late < 0 || late > 5*time.Millisecond {
			t.Errorf("Shutdown returned %v after %v", err, time.Since(began))
		}
		if n := server.open.Load(); n != 0 {
			t.Errorf("%d connections are counted afterwards", n)
		}
	})
}

// Case H2.
func TestShutdownEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		addr, server := s.serve(s.proxy.Handler())
		left := make(chan bool)
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
			_, _ = r.br.ReadByte()
			close(left)
			return false
		})
		res, err := s.client().Get("http://" + addr + "/alpha/x")
		if err != nil {
			t.Fatal(err)
		}
		mustCut(t, server)
		<-left
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("a cut stream looks whole")
		}
		_ = res.Body.Close()
	})
}

// A target that takes nothing more of a WebSocket is ended after a while: nobody sees the app leave
// meanwhile.
func TestStalledTargetsOfWebSocketsAreEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		ended := make(chan time.Time)
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
			time.Sleep(2 * standstill) // without reading
			return false
		})
		c := s.dial(s.addr)
		c.write("GET /alpha/x" + stalledHead + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		if a := c.read("GET"); a.status != 101 {
			t.Fatal(a.status, a.err)
		}
		began := time.Now()
		go func() {
			_, _ = io.WriteString(c, strings.Repeat("x", 1<<20))
			ended <- time.Now()
		}()
		if took := (<-ended).Sub(began); took != standstill {
			t.Errorf("the app's side ended after %v", took)
		}
	})
}

// silentPipe is a connection of which each direction can be ended, and on which nothing comes.
type silentPipe struct {
	net.Conn
	ended bool
}

func (p *silentPipe) CloseWrite() error {
	p.ended = true
	return nil
}

// A target that does not end after the app has is ended, unless it still sends something.
func TestTunnelsEndAfterTheApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		inner := &silentPipe{Conn: near}
		tunnel := newTunnel(inner)
		time.Sleep(2 * standstill) // nobody minds a long silence
		began := time.Now()
		if err := tunnel.CloseWrite(); err != nil || !inner.ended {
			t.Error("the direction is not ended", err)
		}
		go func() {
			time.Sleep(standstill / 2)
			_, _ = far.Write([]byte("x"))
		}()
		n, err := io.Copy(io.Discard, tunnel)
		if took := time.Since(began); n != 1 || err == nil || took != 3*standstill/2 {
			t.Errorf("%d bytes, %v after %v", n, err, took)
		}
	})
}

// TestWebSocketOverTLSUsesHTTP1: a WebSocket goes over HTTP/1.1 also to a target that speaks
// HTTP/2.
func TestWebSocketOverTLSUsesHTTP1(t *testing.T) {
	target := newTLSTarget(t, 0)
	target.serve = func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		_ = c.Write(r.Context(), websocket.MessageText, []byte(r.Proto))
		_ = c.CloseNow()
	}
	s := newSide(t, setup{config: func(c *Config) { c.Roots = target.roots["trusted"] }, upstreams: func(s *side) []upstream.Upstream {
		return []upstream.Upstream{s.oauth2("alpha", target.url)}
	}})
	_, got, err := s.dialWebSocket(s.addr).Read(context.Background())
	if err != nil || string(got) != "HTTP/1.1" {
		t.Errorf("%q, %v", got, err)
	}
	target.serve = func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }
	if a := s.get("/alpha/x"); a.body != protocol() {
		t.Errorf("an ordinary request went by %q", a.body)
	}
}

func TestOtherUpgradesAreNotForwarded(t *testing.T) {
	s := newSide(t, setup{})
	for _, lines := range [][]string{
		{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"}, {"Connection: Upgrade", "Upgrade: TLS/1.0"},
		{"Connection: Upgrade", "Upgrade: websocket, h2c"}, {"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"},
		{"Connection: Upgrade", "Upgrade:"},
	} {
		if a := s.get("/alpha/x", lines...); a.status != 200 {
			t.Errorf("%q: %d", lines, a.status)
		}
		if r := s.up.last(); r.header("upgrade") != nil || r.header("connection") != nil || r.header("http2-settings") != nil {
			t.Errorf("%q: the target saw %q", lines, r.head)
		}
	}
	if a := s.send("POST", "/alpha/x", "body", "Connection: Upgrade", "Upgrade: websocket"); a.status != 200 || s.up.last().header("upgrade") != nil {
		t.Errorf("POST: %d", a.status)
	}
	// The target switches to something else than it was asked for.
	for _, says := range []string{"Upgrade: h2c\r\nConnection: Upgrade\r\n", "Upgrade: websocket\r\n", "Connection: Upgrade\r\n", ""} {
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 101 Switching Protocols\r\n" + says + "\r\n")
			_, _ = r.br.ReadByte() // until the sidecar closes
			return false
		})
		s.get("/alpha/x", "Connection: Upgrade", "Upgrade: websocket").problem(t, 502, "target_unreachable")
		eventually(t, "the end of the connection", func() bool {
			s.up.mu.Lock()
			defer s.up.mu.Unlock()
			return len(s.up.conns) <= 1 // one idle, of the requests above
		})
	}
}

// TestDirectionsOfATunnelEndSeparately: each side of an upgraded connection ends what it sends
// by itself, and still hears the other to its end.
func TestDirectionsOfATunnelEndSeparately(t *testing.T) {
	for _, first := range []string{"app", "target"} {
		s := newSide(t, setup{})
		heard, ended := make(chan string, 1), make(chan bool)
		hear := func(r *upRequest) {
			b, err := io.ReadAll(r.br)
			heard <- string(b) + fmt.Sprint(err)
		}
		s.up.play(func(r *upRequest) bool {
			r.say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			if first == "app" {
				hear(r)
			}
			r.say("goodbye")
			_ = r.Conn.(*net.TCPConn).CloseWrite()
			if first == "target" {
				hear(r)
			}
			<-ended
			return false
		})
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if a := c.read("GET"); a.status != 101 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		speak := func() {
			c.write("hello")
			_ = c.Conn.(*net.TCPConn).CloseWrite()
		}
		if first == "app" {
			speak()
		}
		if got := c.rest(patience / 2); got != "goodbye" {
			t.Errorf("%s first: the app heard %q", first, got)
		}
		if first == "target" {
			speak()
		}
		if got := <-heard; got != "hello<nil>" {
			t.Errorf("%s first: the target heard %q", first, got)
		}
		close(ended)
	}
}
