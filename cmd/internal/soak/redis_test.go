package soak

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real redis-server, which stores nothing on disk.
type redisServer struct {
	t      *testing.T
	port   string
	dir    string
	args   []string
	client *redis.Client // of the test's own
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has ended
}

func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	s := &redisServer{t: t, port: port, dir: t.TempDir(), args: args,
		client: redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, MaxRetries: -1})}
	t.Cleanup(func() {
		s.kill()
		_ = s.client.Close()
	})
	s.start()
	return s
}

// environ returns the settings by which a sidecar uses it.
func (s *redisServer) environ() []string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	ring := canaryRing + base64.StdEncoding.EncodeToString(key)[len(canaryRing):]
	return []string{"SIDECAR_REDIS_URL=redis://127.0.0.1:" + s.port, "SIDECAR_REDIS_KEYS=a:" + ring}
}

func (s *redisServer) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", append([]string{"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--rdbcompression", "no"}, // so that DUMP shows values as they are
		s.args...)...)
	s.cmd.Stdout = &bytes.Buffer{}
	if err := s.cmd.Start(); err != nil {
		s.t.Errorf("redis-server: %v; it comes with the package redis-server", err)
		return
	}
	cmd, done := s.cmd, make(chan struct{})
	s.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	for deadline := time.Now().Add(patience); !s.answers(); {
		if time.Now().After(deadline) {
			s.t.Errorf("redis-server does not answer: %s", cmd.Stdout)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *redisServer) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *redisServer) hurt(mode string) {
	switch mode {
	case "stopped":
		_ = s.cmd.Process.Signal(syscall.SIGSTOP)
	case "killed":
		s.kill()
	case "flushed":
		if err := s.client.FlushAll(context.Background()).Err(); err != nil {
			s.t.Errorf("flushall: %v", err)
		}
	}
}

func (s *redisServer) heal(mode string) {
	switch mode {
	case "stopped":
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
	case "killed":
		s.start()
	}
}

// search writes the names of all values, and the values, to out. It returns how
// many there were.
func (s *redisServer) search(out io.Writer) (n int) {
	s.t.Helper()
	ctx := context.Background()
	all := s.client.Scan(ctx, 0, "*", 1000).Iterator()
	for all.Next(ctx) {
		n++
		value, _ := s.client.Dump(ctx, all.Val()).Result() // it may have ended
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
	conn, err := net.Dial("tcp", "127.0.0.1:"+s.port)
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

// answers reports whether the server answers, be it with an error.
func (s *redisServer) answers() bool {
	err := s.client.Ping(context.Background()).Err()
	var answered redis.Error
	return err == nil || errors.As(err, &answered)
}
