package fleet

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// target is the API behind the sidecars. It answers whose token came. It is no
// net/http server: thousands of requests a second must cost little beside the
// replicas under test.
type target struct {
	listener net.Listener
	lookUp   func(token string) (upstreamtest.Grant, bool)
	skew     time.Duration // before its end from when on a token is not to be used
	unknown  atomic.Int64  // requests with a token that was never issued, or none
	expired  atomic.Int64  // requests that were sent with an expired token
	overtime atomic.Int64  // requests whose token expired on the way

	mu    sync.Mutex // guards conns
	conns map[net.Conn]bool
}

// sentHeader carries when the app sent a request, in Unix nanoseconds.
const sentHeader = "X-Sent"

func newTarget(t *testing.T, skew time.Duration, lookUp func(string) (upstreamtest.Grant, bool)) *target {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &target{listener: l, lookUp: lookUp, skew: skew, conns: map[net.Conn]bool{}}
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
	token, sent := "", int64(0)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		line = bytes.TrimRight(line, "\r\n")
		if value, ok := bytes.CutPrefix(line, []byte("Authorization: Bearer ")); ok {
			token = string(value)
		} else if value, ok := bytes.CutPrefix(line, []byte(sentHeader+": ")); ok {
			sent, _ = strconv.ParseInt(string(value), 10, 64)
		}
		if len(line) > 0 {
			continue
		}
		status, body := s.judge(token, time.Unix(0, sent))
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body); err != nil {
			return
		}
		token = ""
	}
}

// judge answers with key, client and number of the token. A request that took less
// than the skew and has an expired token had it when it should not have: the sidecar
// gives no token out in that last part of its life.
func (s *target) judge(token string, sent time.Time) (status, body string) {
	now := time.Now()
	g, known := s.lookUp(token)
	switch {
	case !known:
		s.unknown.Add(1)
		return "401 Unauthorized", "unknown"
	case !now.Before(g.Expiry):
		if now.Sub(sent) < s.skew {
			s.expired.Add(1)
		} else {
			s.overtime.Add(1)
		}
		return "401 Unauthorized", "expired"
	}
	return "200 OK", fmt.Sprintf("%s %s/%s %d", keyOf(g), g.Client, g.Secret, g.Number)
}
