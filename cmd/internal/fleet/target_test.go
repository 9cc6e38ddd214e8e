package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// target is the API behind the sidecars. It answers whose token came. It is no
// net/http server: thousands of requests a second must cost little beside the
// replicas under test.
type target struct {
	listener net.Listener
	lookUp   func(token string) (grant, bool)
	unknown  atomic.Int64 // requests with a token that was never issued, or none

	mu      sync.Mutex // guards conns and expired
	conns   map[net.Conn]bool
	expired []time.Time // when requests with an expired token came
}

func newTarget(t *testing.T, lookUp func(string) (grant, bool)) *target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &target{listener: l, lookUp: lookUp, conns: map[net.Conn]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for conn := range s.conns {
			_ = conn.Close()
		}
		s.mu.Unlock()
		serving.Wait()
	})
	return s
}

func (s *target) url() string { return "http://" + s.listener.Addr().String() }

// serve answers the requests of one connection, which must have no body.
func (s *target) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	in := bufio.NewReader(conn)
	token := ""
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		line = bytes.TrimRight(line, "\r\n")
		if value, ok := bytes.CutPrefix(line, []byte("Authorization: Bearer ")); ok {
			token = string(value)
		}
		if len(line) > 0 {
			continue
		}
		status, body := s.judge(token)
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body); err != nil {
			return
		}
		token = ""
	}
}

// judge answers with key, client and serial of the token.
func (s *target) judge(token string) (status, body string) {
	now := time.Now()
	g, known := s.lookUp(token)
	switch {
	case !known:
		s.unknown.Add(1)
		return "401 Unauthorized", "unknown"
	case !now.Before(g.expiry):
		s.mu.Lock()
		s.expired = append(s.expired, now)
		s.mu.Unlock()
		return "401 Unauthorized", "expired"
	}
	return "200 OK", fmt.Sprintf("%s %s %d", g.key, g.client, g.serial)
}

// lateTokens returns when requests with an expired token came.
func (s *target) lateTokens() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.expired...)
}
