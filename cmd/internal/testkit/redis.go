package testkit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a real redis-server on a port of its own, which it keeps when it is
// started again. It stores nothing on disk. It must not be started and ended at
// the same time.
type Redis struct {
	Port    string
	Dir     string        // its working directory
	Args    []string      // all that it is started with
	Client  *redis.Client // of the test's own, without a password
	process *Process      // nil before the first start
	said    *Output       // by that
}

// NewRedis makes a server and does not start it. args follow those that all
// servers have. It ends with the test. With -short the test is skipped.
func NewRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	skipIfShort(t)
	port := FreePort(t)
	s := &Redis{Port: port, Dir: t.TempDir(), Client: redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port, MaxRetries: -1})}
	s.Args = append([]string{"--port", port, "--bind", "127.0.0.1", "--dir", s.Dir, "--save", "", "--appendonly", "no"}, args...)
	t.Cleanup(func() {
		if s.process != nil {
			s.Kill()
		}
		_ = s.Client.Close()
	})
	return s
}

// Addr returns the server's address.
func (s *Redis) Addr() string { return "127.0.0.1:" + s.Port }

// URL returns the server's URL as the sidecar takes it.
func (s *Redis) URL() string { return "redis://" + s.Addr() }

// Start starts the server and waits until it answers a PING, be it with an error.
func (s *Redis) Start() (err error) {
	cmd := exec.Command("redis-server", s.Args...)
	s.said = &Output{}
	cmd.Stdout, cmd.Stderr = s.said, s.said
	if s.process, err = Start(cmd); err != nil {
		return fmt.Errorf("redis-server: %w; it comes with the package redis-server", err)
	}
	for deadline := time.Now().Add(Patience); ; {
		err := s.Client.Ping(context.Background()).Err()
		var answered redis.Error
		if err == nil || errors.As(err, &answered) && !strings.HasPrefix(err.Error(), "LOADING") {
			return nil
		}
		if ended := s.process.Ended(); ended != nil || time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("redis-server does not answer: %w", err), ended, errors.New(s.said.String()))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Kill ends the server at once.
func (s *Redis) Kill() { s.process.Kill() }

// Freeze stops the server until Thaw.
func (s *Redis) Freeze() { s.process.Freeze() }

// Thaw lets the server go on after Freeze.
func (s *Redis) Thaw() { s.process.Thaw() }

var (
	portsMu    sync.Mutex // guards portsTaken
	portsTaken = map[string]bool{}
)

// FreePort returns a loopback port that is free now and that no other caller got. It
// is below those that the kernel gives to outgoing connections and to listeners
// without a port of their own, so that nothing takes it before it is used.
func FreePort(t testing.TB) string {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := strconv.Itoa(10000 + rand.IntN(20000))
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		_ = l.Close()
		if portsTaken[port] {
			continue
		}
		portsTaken[port] = true
		return port
	}
	t.Fatal("no port is free")
	return ""
}
