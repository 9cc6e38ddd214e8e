package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real redis-server on a port of its own, which it keeps when
// it is started again. It stores nothing on disk.
type redisServer struct {
	t      *testing.T
	port   string
	dir    string
	file   string // of a sentinel, which keeps its state there; else empty
	args   []string
	client *redis.Client // of the tests' own, without a password
	cmd    *exec.Cmd
	done   chan struct{}
}

var (
	portsMu    sync.Mutex
	portsTaken = map[string]bool{}
)

// freePort returns a port that is free now and that no other caller got.
func freePort(t *testing.T) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		_ = l.Close()
		if !portsTaken[port] {
			portsTaken[port] = true
			return port
		}
	}
}

// newRedis makes a server with args and does not start it.
func newRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	port := freePort(t)
	s := &redisServer{t: t, port: port, dir: t.TempDir(), args: args,
		client: redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, MaxRetries: -1})}
	t.Cleanup(func() {
		s.kill()
		_ = s.client.Close()
	})
	return s
}

// startRedis runs a server until the test ends.
func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	s := newRedis(t, args...)
	s.start()
	return s
}

func (s *redisServer) addr() string { return "127.0.0.1:" + s.port }
func (s *redisServer) url() string  { return "redis://" + s.addr() }

// launch starts the process and does not wait.
func (s *redisServer) launch() {
	s.t.Helper()
	own := []string{"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir}
	if s.file != "" {
		own = append([]string{s.file, "--sentinel"}, own...)
	} else {
		own = append(own, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
			"--repl-ping-replica-period", "1")
	}
	s.cmd = exec.Command("redis-server", append(own, s.args...)...)
	s.cmd.Stdout = &bytes.Buffer{}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redis-server: %v; it comes with the package redis-server", err)
	}
	cmd, done := s.cmd, make(chan struct{})
	s.done = done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
}

func (s *redisServer) start() {
	s.t.Helper()
	s.launch()
	s.awaitAnswer()
}

// awaitAnswer waits until the server answers a PING, be it with an error.
func (s *redisServer) awaitAnswer() {
	s.t.Helper()
	eventually(s.t, "redis-server answers", func() error {
		select {
		case <-s.done:
			return fmt.Errorf("it has ended: %s", s.cmd.Stdout)
		default:
		}
		err := s.client.Ping(s.t.Context()).Err()
		var answered redis.Error
		if errors.As(err, &answered) && !strings.HasPrefix(err.Error(), "LOADING") {
			return nil
		}
		return err
	})
}

func (s *redisServer) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.done
}

func (s *redisServer) freeze() { _ = s.cmd.Process.Signal(syscall.SIGSTOP) }
func (s *redisServer) thaw()   { _ = s.cmd.Process.Signal(syscall.SIGCONT) }

// do runs a command of the test's own and fails the test if that fails.
func (s *redisServer) do(args ...any) {
	s.t.Helper()
	ctx, cancel := contextFor(s.t, patience)
	defer cancel()
	if err := s.client.Do(ctx, args...).Err(); err != nil {
		s.t.Errorf("redis %v: %v", args[0], err)
	}
}

// commands returns how many commands the server has processed.
func (s *redisServer) commands() (n int) {
	s.t.Helper()
	_, after, _ := strings.Cut(s.client.Info(s.t.Context(), "stats").Val(), "total_commands_processed:")
	if _, err := fmt.Sscan(after, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// names returns the names of all values, without those of leases.
func (s *redisServer) names() map[string]bool {
	s.t.Helper()
	names := map[string]bool{}
	for _, name := range s.client.Keys(s.t.Context(), "*:token").Val() {
		names[name] = true
	}
	return names
}

// nameOf returns the name of the value that do stores.
func (s *redisServer) nameOf(do func()) (name string) {
	s.t.Helper()
	before := s.names()
	do()
	eventually(s.t, "a value is stored", func() error {
		for name = range s.names() {
			if !before[name] {
				return nil
			}
		}
		return errors.New("there is no new one")
	})
	return name
}
