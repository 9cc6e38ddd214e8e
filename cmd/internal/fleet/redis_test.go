package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

// redisServer is a real redis-server that belongs to a test.
type redisServer struct {
	*testkit.Redis
	t *testing.T
}

func newRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	return &redisServer{testkit.NewRedis(t, append([]string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}, args...)...), t}
}

// startRedis runs a server until the test ends.
func startRedis(t *testing.T, args ...string) *redisServer {
	t.Helper()
	s := newRedis(t, args...)
	s.start()
	return s
}

func (s *redisServer) start() {
	s.t.Helper()
	if err := s.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// do runs a command of the test's own and fails the test if that fails.
func (s *redisServer) do(args ...any) {
	s.t.Helper()
	ctx, cancel := contextFor(s.t, testkit.Patience)
	defer cancel()
	if err := s.Client.Do(ctx, args...).Err(); err != nil {
		s.t.Errorf("redis %v: %v", args[0], err)
	}
}

// commands returns how many commands the server has processed.
func (s *redisServer) commands() (n int) {
	s.t.Helper()
	_, after, _ := strings.Cut(s.Client.Info(s.t.Context(), "stats").Val(), "total_commands_processed:")
	if _, err := fmt.Sscan(after, &n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// names returns the names of all values, without those of leases.
func (s *redisServer) names() map[string]bool {
	s.t.Helper()
	names := map[string]bool{}
	for _, name := range s.Client.Keys(s.t.Context(), "*:token").Val() {
		names[name] = true
	}
	return names
}

// nameOf returns the name of the value that do stores.
func (s *redisServer) nameOf(do func()) (name string) {
	s.t.Helper()
	before := s.names()
	do()
	testkit.Eventually(s.t, "a value is stored", func() error {
		for name = range s.names() {
			if !before[name] {
				return nil
			}
		}
		return errors.New("there is no new one")
	})
	return name
}
