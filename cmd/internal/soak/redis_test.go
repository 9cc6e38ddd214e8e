package soak

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// redisServer is a real redis-server that belongs to a test.
type redisServer struct {
	*testkit.Redis
	t *testing.T
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	s := &redisServer{testkit.NewRedis(t, append([]string{"--rdbcompression", "no"}, args...)...), t} // so that DUMP shows values as they are
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// environ returns the settings by which a sidecar uses it.
func (s *redisServer) environ() []string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	ring := canaryRing + base64.StdEncoding.EncodeToString(key)[len(canaryRing):]
	return []string{"SIDECAR_REDIS_URL=" + s.URL(), "SIDECAR_REDIS_KEYS=a:" + ring}
}

func (s *redisServer) hurt(mode string) {
	switch mode {
	case "stopped":
		s.Freeze()
	case "killed":
		s.Kill()
	case "flushed":
		if err := s.Client.FlushAll(context.Background()).Err(); err != nil {
			s.t.Errorf("flushall: %v", err)
		}
	}
}

func (s *redisServer) heal(mode string) {
	switch mode {
	case "stopped":
		s.Thaw()
	case "killed":
		if err := s.Start(); err != nil {
			s.t.Error(err)
		}
	}
}

// search writes the names of all values, and the values, to out. It returns how
// many there were.
func (s *redisServer) search(out io.Writer) (n int) {
	s.t.Helper()
	ctx := context.Background()
	all := s.Client.Scan(ctx, 0, "*", 1000).Iterator()
	for all.Next(ctx) {
		n++
		value, _ := s.Client.Dump(ctx, all.Val()).Result() // it may have ended
		_, _ = fmt.Fprintf(out, "%s\n%s\n", all.Val(), value)
	}
	if err := all.Err(); err != nil {
		s.t.Error(err)
	}
	return n
}

// monitor writes all commands that the server gets to out, until stop is called.
func (s *redisServer) monitor(out io.Writer) (stop func()) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "MONITOR\r\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, conn)
	}()
	return func() {
		_ = conn.Close()
		<-done
	}
}
