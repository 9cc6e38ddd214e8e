package shared

import (
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is the timeout in tests that are not about it: a machine may stand
// still for longer than the usual one.
const patient = 5 * time.Second

// mustNew returns a store with one key, which is closed when the test ends.
func mustNew(t *testing.T, c Config) *Store {
	t.Helper()
	c.Ring, c.Metrics, c.Log = ring("a"), metrics.New("test"), zerolog.Nop()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// lookups are those under way at the name server of these tests, which does not
// answer: no test needs one.
var lookups atomic.Int32

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		lookups.Add(1)
		defer lookups.Add(-1)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
		return nil, os.ErrDeadlineExceeded
	}}
}

// TestE2_HungNamesCostNoMore has a Redis whose name nobody resolves. Neither the
// start nor an operation may wait for that.
func TestE2_HungNamesCostNoMore(t *testing.T) {
	for mode, query := range map[string]string{"standalone": "", "sentinel": "?master_name=m", "cluster": ""} {
		began := time.Now()
		s, err := New(Config{URL: upstream.NewSecret("redis://" + mode + ".test:6379" + query), Mode: mode,
			Ring: ring("a"), Metrics: metrics.New("test"), Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		started := time.Since(began)
		_, err = s.Get(t.Context(), s.Place(upstream.Fingerprint{}, someKey))
		if took := time.Since(began); err == nil || took > time.Second {
			t.Errorf("%s: start and an operation took %s and %s: %v", mode, started, took-started, err)
		}
		_ = s.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); lookups.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("look-ups are under way after 10 s")
		}
	}
}
