package cache

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// issuer is a token endpoint that any number of replicas ask.
type issuer struct {
	life  time.Duration
	delay time.Duration
	fail  atomic.Pointer[upstream.Error]
	calls atomic.Int32
	now   atomic.Int32 // under way
	peak  atomic.Int32
}

// replica is one upstream that asks the issuer.
type replica struct {
	*issuer
	credential byte
	cutOff     atomic.Bool
}

func (r *replica) Name() string             { return "up" }
func (r *replica) Routes() []upstream.Route { return nil }
func (r *replica) CloseIdleConnections()    {}
func (r *replica) Bind(t upstream.Token, _ upstream.Fingerprint) (upstream.Token, bool) {
	return t, true
}
func (r *replica) Fingerprint() upstream.Fingerprint { return upstream.Fingerprint{r.credential} }
func (r *replica) Key(kind upstream.Kind, subject, scope string) (upstream.Key, error) {
	return upstream.Key{Upstream: "up", Kind: kind, Subject: subject, Scope: scope}, nil
}

func (r *replica) Fetch(ctx context.Context, k upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	if r.cutOff.Load() {
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable}
	}
	n := r.calls.Add(1)
	r.peak.Store(max(r.peak.Load(), r.issuer.now.Add(1)))
	defer r.issuer.now.Add(-1)
	began := time.Now()
	if sleep(ctx, r.delay) != nil {
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable}
	}
	if err := r.fail.Load(); err != nil {
		return upstream.Token{}, err
	}
	return upstream.NewToken(fmt.Sprintf("%s-%d", k.Subject, n), "", began, began.Add(r.life))
}

// ring returns a ring with one key; another id makes another key.
func ring(id string) []shared.SealKey {
	return []shared.SealKey{{ID: id, Key: upstream.NewSecret(strings.Repeat(id[:1], 32))}}
}

// join adds a replica to the fleet at url.
func (i *issuer) join(t *testing.T, url string) (*Cache, *replica) {
	t.Helper()
	return i.joinBy(t, shared.Config{URL: upstream.NewSecret(url), Timeout: patient})
}

// patient is the timeout of replicas whose tests are not about it: a machine may
// stand still for longer than the usual one.
const patient = time.Minute

// joinBy adds a replica that reaches Redis as way says.
func (i *issuer) joinBy(t *testing.T, way shared.Config) (*Cache, *replica) {
	t.Helper()
	m := metrics.New("test")
	way.Ring, way.Metrics, way.Log = ring("a"), m, zerolog.Nop()
	store := mustShare(t, way)
	r := &replica{issuer: i}
	c := New(Config{Upstreams: []upstream.Upstream{r}, Metrics: m, Shared: store, TokenRate: 1e6})
	t.Cleanup(func() { _ = c.Close() })
	return c, r
}

// joinOn adds a replica that reaches Redis over the network, with the usual timeout.
func (i *issuer) joinOn(t *testing.T, n *redistest.Network) (*Cache, *replica) {
	t.Helper()
	return i.joinBy(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"), Dial: n.Dial})
}

// mustShare returns the shared tokens, which are closed when the test ends.
func mustShare(t *testing.T, config shared.Config) *shared.Store {
	t.Helper()
	config.Driver = goredis.Driver{}
	store, err := shared.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func subject(name string) upstream.Key {
	return upstream.Key{Upstream: "up", Kind: upstream.KindAccess, Subject: name}
}

// placeOf is where the replicas of an issuer share the token of a subject.
func placeOf(store *shared.Store, name string) shared.Place {
	return store.Place(upstream.Fingerprint{}, subject(name))
}

// names are what a place is called in Redis.
type names struct{ value, lease string }

// namesOf returns the names of the place of a subject. To see them it takes the
// lease for a moment, which nobody else must do meanwhile.
func namesOf(t *testing.T, client *redis.Client, store *shared.Store, subject string) names {
	t.Helper()
	return namesAmong(t, func() []string { return client.Keys(t.Context(), "*:lease").Val() }, store, subject)
}

// namesOn is namesOf for the Redis of a network.
func namesOn(t *testing.T, n *redistest.Network, store *shared.Store, subject string) names {
	t.Helper()
	return namesAmong(t, n.Redis.Keys, store, subject)
}

func namesAmong(t *testing.T, keys func() []string, store *shared.Store, subject string) names {
	t.Helper()
	before := keys()
	a, err := store.Look(t.Context(), placeOf(store, subject), shared.Version{}, shared.Want{Lease: true})
	if err != nil || a.Lease == nil {
		t.Fatalf("no lease: %v", err)
	}
	defer a.Lease.Release(t.Context())
	for _, key := range keys() {
		if lease, ok := strings.CutSuffix(key, ":lease"); ok && !slices.Contains(before, key) {
			return names{lease + ":token", key}
		}
	}
	t.Fatal("a lease was taken and has no name")
	return names{}
}

// someToken is none that the issuer would give.
func someToken(t *testing.T) upstream.Token {
	t.Helper()
	now := time.Now()
	token, err := upstream.NewToken("canary-token", "read write", now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func mustGet(t *testing.T, c *Cache, name string) string {
	t.Helper()
	token, err := c.Token(t.Context(), subject(name))
	if err != nil {
		t.Fatalf("no token for %s: %v", name, err)
	}
	return token.AccessToken()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after a minute: %s", what)
		}
	}
}

func TestFreshTokensCostRedisNothing(t *testing.T) {
	url, client := redistest.Start(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url)
	p := namesOf(t, client, c.config.Shared, "alice")
	mustGet(t, c, "alice")
	eventually(t, "the token is stored", func() bool { return client.Exists(t.Context(), p.value).Val() == 1 })
	before := commands(t, client)
	for range 10_000 {
		mustGet(t, c, "alice")
	}
	if n := commands(t, client) - before; n != 1 { // the counting itself
		t.Errorf("%d Redis commands for 10,000 requests with a fresh token", n-1)
	}
}

func commands(t *testing.T, client *redis.Client) (n int) {
	t.Helper()
	info := client.Info(t.Context(), "stats").Val()
	_, after, _ := strings.Cut(info, "total_commands_processed:")
	if _, err := fmt.Sscan(after, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
