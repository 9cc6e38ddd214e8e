package shared

import (
	"context"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Redis is the driver of the tests, see TestMain.
var Redis Driver

// patient is the timeout in tests that are not about it: a machine may stand
// still for longer than the usual one.
const patient = time.Minute

// mustNew returns a store with one key, which is closed when the test ends.
func mustNew(t *testing.T, c Config) *Store {
	t.Helper()
	c.Driver, c.Ring, c.Metrics, c.Log = Redis, ring("a"), metrics.New("test"), zerolog.Nop()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestHungNamesCostNoMore has a Redis whose name nobody resolves. Neither the
// start nor an operation may wait for that.
//
// Case E2.
func TestHungNamesCostNoMore(t *testing.T) {
	resolver := net.DefaultResolver
	defer func() { net.DefaultResolver = resolver }()
	// No test of this process looks a name up at the same time.
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done() // the name server does not answer
		return nil, os.ErrDeadlineExceeded
	}}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, _ = net.DefaultResolver.LookupHost(short, "first.test") // what the package keeps for good is not made in a bubble
	for mode, query := range map[string]string{"standalone": "", "sentinel": "?master_name=m", "cluster": ""} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			s := mustNew(t, Config{URL: upstream.NewSecret("redis://" + mode + ".test:6379" + query), Mode: mode})
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: the start took %s", mode, took)
			}
			_, err := s.Get(t.Context(), s.Place(upstream.Fingerprint{}, someKey))
			if took := time.Since(began); err == nil || took != defaultTimeout {
				t.Errorf("%s: an operation took %s: %v", mode, took, err)
			}
			time.Sleep(time.Minute) // the look-ups under way end, for one of which Close would wait
		})
	}
}

// TestValueWithoutAnEndIsNoToken reads a value that stands in Redis without a time
// to live, as a replica stores none: it is no token, whoever put it there.
func TestValueWithoutAnEndIsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := redistest.NewNetwork(t)
		s := mustNew(t, Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
		p := s.Place(upstream.Fingerprint{}, someKey)
		for end, want := range map[time.Duration]bool{0: false, time.Millisecond: true, time.Minute: true} {
			if err := n.Redis.Set(p.value, s.Seal(p, someToken(t)).value); err != nil {
				t.Fatal(err)
			}
			if end != 0 {
				n.Redis.SetTTL(p.value, end)
			}
			got, err := s.Get(t.Context(), p)
			if err != nil || got.Token.IsZero() == want {
				t.Errorf("a value that ends after %s is a token: %v, %v", end, !want, err)
			}
			if !want && outcomes(t, s, "invalid") != 1 {
				t.Error("it is not counted as a value that no replica stored")
			}
			if want && got.Left != end {
				t.Errorf("%s are left of a value that ends after %s", got.Left, end)
			}
		}
	})
}

// outcomes returns how many operations of s its metrics count with an outcome.
func outcomes(t *testing.T, s *Store, outcome string) (n float64) {
	t.Helper()
	families, err := s.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, series := range f.GetMetric() {
			for _, label := range series.GetLabel() {
				if f.GetName() == "token_sidecar_redis_operations_total" && label.GetValue() == outcome {
					n += series.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
