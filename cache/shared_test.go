package cache

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

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

func (r *replica) Name() string                      { return "up" }
func (r *replica) Routes() []upstream.Route          { return nil }
func (r *replica) CloseIdleConnections()             {}
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
	select {
	case <-time.After(r.delay):
	case <-ctx.Done():
		return upstream.Token{}, &upstream.Error{Upstream: "up", Class: upstream.ClassUnavailable}
	}
	if err := r.fail.Load(); err != nil {
		return upstream.Token{}, err
	}
	return upstream.NewToken(fmt.Sprintf("%s-%d", k.Subject, n), "", began, began.Add(r.life))
}

// join adds a replica to the fleet at url.
func (i *issuer) join(t *testing.T, url string, keys []SealKey) (*Cache, *replica) {
	t.Helper()
	return i.joinBy(t, url, keys, func(*Shared) {})
}

// patient is the timeout of replicas whose tests are not about it: a machine may
// stand still for longer than the usual one.
const patient = 5 * time.Second

// joinBy is join with something to be done to the replica's way to Redis.
func (i *issuer) joinBy(t *testing.T, url string, keys []SealKey, before func(*Shared)) (*Cache, *replica) {
	t.Helper()
	m := metrics.New("test")
	shared, err := NewShared(SharedConfig{URL: upstream.NewSecret(url), Ring: keys, timeout: patient, Metrics: m, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	before(shared)
	r := &replica{issuer: i}
	c := New(Config{Upstreams: []upstream.Upstream{r}, Metrics: m, Shared: shared, TokenRate: 1e6})
	t.Cleanup(func() {
		_ = c.Close()
		_ = shared.Close()
	})
	return c, r
}

func subject(name string) upstream.Key {
	return upstream.Key{Upstream: "up", Kind: upstream.KindAccess, Subject: name}
}

func mustGet(t *testing.T, c *Cache, name string) string {
	t.Helper()
	token, err := c.Token(t.Context(), subject(name))
	if err != nil {
		t.Fatalf("no token for %s: %v", name, err)
	}
	return token.AccessToken()
}

// startRedis runs a real redis-server until the test ends.
func startRedis(t *testing.T, args ...string) (url string, client *redis.Client) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	server := exec.Command("redis-server", append([]string{"--port", port, "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir()}, args...)...)
	if err := server.Start(); err != nil {
		t.Fatalf("redis-server: %v; make test installs it", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	client = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	t.Cleanup(func() { _ = client.Close() })
	for deadline := time.Now().Add(10 * time.Second); client.Ping(t.Context()).Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	return "redis://127.0.0.1:" + port, client
}

func TestF1_FleetMakesOneTokenRequest(t *testing.T) {
	url, _ := startRedis(t)
	i := &issuer{life: time.Hour, delay: 300 * time.Millisecond}
	var all sync.WaitGroup
	for range 10 {
		c, _ := i.join(t, url, ring("a"))
		for range 100 {
			all.Go(func() {
				if got := mustGet(t, c, "alice"); got != "alice-1" {
					t.Errorf("got %s", got)
				}
			})
		}
	}
	all.Wait()
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d token requests of ten replicas, want 1", n)
	}
}

func TestReplicasRejectTogether(t *testing.T) {
	url, _ := startRedis(t)
	i := &issuer{life: time.Hour, delay: 100 * time.Millisecond}
	var replicas []*Cache
	for range 5 {
		c, _ := i.join(t, url, ring("a"))
		mustGet(t, c, "alice")
		replicas = append(replicas, c)
	}
	var all sync.WaitGroup
	for _, c := range replicas {
		for range 20 {
			all.Go(func() {
				bad, _ := c.Token(t.Context(), subject("alice"))
				if bad.AccessToken() != "alice-1" {
					return // another one of this replica was first
				}
				c.Reject(t.Context(), subject("alice"), bad)
				if got := mustGet(t, c, "alice"); got != "alice-2" {
					t.Errorf("got %s after the rejection", got)
				}
			})
		}
	}
	all.Wait()
	if n := i.calls.Load(); n != 2 {
		t.Errorf("%d token requests, want the first and one replacement", n)
	}
}

func TestRefreshIsAdopted(t *testing.T) {
	url, _ := startRedis(t)
	i := &issuer{life: 2 * time.Second}
	var replicas []*Cache
	for range 3 {
		c, _ := i.join(t, url, ring("a"))
		replicas = append(replicas, c)
	}
	until := time.Now().Add(7 * time.Second)
	for n := 0; time.Now().Before(until); n++ {
		mustGet(t, replicas[n%3], "alice")
		time.Sleep(5 * time.Millisecond)
	}
	// A life of 2 s is replaced after 1.52 to 1.68 s: by whoever is first.
	if n := i.calls.Load(); n < 4 || n > 5 {
		t.Errorf("%d token requests in 7 s of a token of 2 s, want 4 or 5", n)
	}
	for _, c := range replicas {
		if c.sources["up"].gate.shut(c.now()) != 0 {
			t.Error("the gate is closed")
		}
	}
}

func TestE4_DeadHolderIsReplaced(t *testing.T) {
	url, client := startRedis(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url, ring("a"))
	p := c.config.Shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	client.Set(t.Context(), p.lease, "somebody who died", leaseTime)
	began := time.Now()
	mustGet(t, c, "alice")
	if took := time.Since(began); took < leaseTime/2 || took > leaseTime+500*time.Millisecond {
		t.Errorf("took over after %s, want the time of the lease", took)
	}
}

func TestEndlessLeaseIsIgnored(t *testing.T) {
	url, client := startRedis(t)
	for name, ttl := range map[string]time.Duration{"none": 0, "an-hour": time.Hour} {
		i := &issuer{life: time.Hour}
		c, _ := i.join(t, url, ring("a"))
		p := c.config.Shared.sealer.place(upstream.Fingerprint{}, subject(name))
		client.Set(t.Context(), p.lease, "an attacker", ttl)
		began := time.Now()
		mustGet(t, c, name)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("a lease with an end of %s held the request up for %s", name, took)
		}
	}
}

// TestLeaseWhoseAnswerIsLostIsUsed has Redis give a replica the lease and say so
// too late: the token that it fetches alone must be shared all the same, and the
// lease given back.
func TestLeaseWhoseAnswerIsLostIsUsed(t *testing.T) {
	url, client := startRedis(t)
	i := &issuer{life: time.Hour}
	var late atomic.Bool
	slow, _ := i.joinBy(t, "redis://"+answerLate(t, strings.TrimPrefix(url, "redis://"), acquireScript.Hash(), &late), ring("a"),
		func(s *Shared) { s.timeout = leaseTime / 2 })
	other, _ := i.join(t, url, ring("a"))
	p := slow.config.Shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	for _, c := range []*Cache{other, slow} {
		if got := mustGet(t, c, "alice"); got != "alice-1" {
			t.Fatalf("got %s", got)
		}
		eventually(t, "the token is shared and no lease stands", func() bool {
			return client.Exists(t.Context(), p.value).Val() == 1 && client.Exists(t.Context(), p.lease).Val() == 0
		})
	}
	reject := func(c *Cache) {
		t.Helper()
		bad, _ := c.Token(t.Context(), subject("alice"))
		c.Reject(t.Context(), subject("alice"), bad)
		if got := mustGet(t, c, "alice"); got != "alice-2" {
			t.Errorf("got %s after the rejection", got)
		}
	}
	late.Store(true)
	reject(slow)
	late.Store(false)
	reject(other)
	if n := i.calls.Load(); n != 2 {
		t.Errorf("%d token requests, want the first and one replacement", n)
	}
}

// TestHungRenewalDelaysNobody has Redis answer the renewal of a lease only after
// the token has come.
func TestHungRenewalDelaysNobody(t *testing.T) {
	url, _ := startRedis(t)
	i := &issuer{life: time.Hour, delay: leaseTime/4 + 100*time.Millisecond}
	var late atomic.Bool
	late.Store(true)
	c, _ := i.join(t, "redis://"+answerLate(t, strings.TrimPrefix(url, "redis://"), renewScript.Hash(), &late), ring("a"))
	began := time.Now()
	mustGet(t, c, "alice")
	if took := time.Since(began); took > i.delay+leaseTime/4 {
		t.Errorf("a token request of %s took %s", i.delay, took)
	}
}

// TestLeaseIsTakenOnce sends the script of one attempt twice, as the client of a
// cluster may.
func TestLeaseIsTakenOnce(t *testing.T) {
	_, client := startRedis(t)
	for n, want := range []struct {
		owner string
		taken int64
	}{{"a", 1}, {"a", 1}, {"b", 0}, {"a", 1}} {
		reply, err := acquireScript.Run(t.Context(), client, []string{"{x}value", "{x}lease"}, want.owner, leaseTime.Milliseconds(), 100).Slice()
		if err != nil || reply[0] != want.taken {
			t.Errorf("attempt %d, by %s: %v, %v", n+1, want.owner, reply, err)
		}
	}
}

// answerLate relays to Redis. While late is set, what follows a command that names
// the script is answered after three quarters of the time of a lease.
func answerLate(t *testing.T, redis, script string, late *atomic.Bool) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	relay := func(client net.Conn) {
		server, err := net.Dial("tcp", redis)
		if err != nil {
			_ = client.Close()
			return
		}
		var held atomic.Bool
		pass := func(to, from net.Conn, before func([]byte)) func() {
			return func() {
				defer to.Close()
				defer from.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := from.Read(buffer)
					before(buffer[:n])
					if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
						return
					}
				}
			}
		}
		all.Go(pass(server, client, func(command []byte) {
			if late.Load() && strings.Contains(string(command), script) {
				held.Store(true)
			}
		}))
		all.Go(pass(client, server, func([]byte) {
			if held.Swap(false) {
				time.Sleep(leaseTime * 3 / 4)
			}
		}))
	}
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			relay(client)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func mustAcquire(t *testing.T, s *Shared, p place) *lease {
	t.Helper()
	a, err := s.acquire(t.Context(), p)
	if err != nil || a.lease == nil {
		t.Fatalf("no lease: %v", err)
	}
	return a.lease
}

// TestLateHolderStoresNothing lets the lease run out during the token request.
func TestLateHolderStoresNothing(t *testing.T) {
	server := miniredis.RunT(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, "redis://"+server.Addr(), ring("a"))
	shared := c.config.Shared
	p := shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	a := mustAcquire(t, shared, p)
	server.FastForward(2 * leaseTime)
	mustAcquire(t, shared, p).store(t.Context(), someToken(t))
	a.store(t.Context(), someToken(t))
	a.release(t.Context())
	got, err := shared.get(t.Context(), p)
	if err != nil || got.token.IsZero() {
		t.Fatalf("nothing is shared: %v", err)
	}
	late, _ := upstream.NewToken("late", "", time.Now(), time.Now().Add(time.Hour))
	a.store(t.Context(), late)
	if got, _ := shared.get(t.Context(), p); got.token.AccessToken() != "canary-token" {
		t.Errorf("the late holder's token was stored")
	}
}

// TestTokenOfALostLeaseIsShared lets the lease run out, and nobody has fetched since.
func TestTokenOfALostLeaseIsShared(t *testing.T) {
	server := miniredis.RunT(t)
	c, _ := (&issuer{life: time.Hour}).join(t, "redis://"+server.Addr(), ring("a"))
	shared := c.config.Shared
	p := shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	a := mustAcquire(t, shared, p)
	server.FastForward(2 * leaseTime)
	a.store(t.Context(), someToken(t))
	if got, err := shared.get(t.Context(), p); err != nil || got.token.AccessToken() != "canary-token" {
		t.Errorf("it is not shared: %v", err)
	}
}

// TestD6_ReplaysAreNotAdopted restores old values with a long time to live.
func TestD6_ReplaysAreNotAdopted(t *testing.T) {
	server := miniredis.RunT(t)
	i := &issuer{life: 4 * time.Second}
	url := "redis://" + server.Addr()
	c, _ := i.join(t, url, ring("a"))
	first := mustGet(t, c, "alice")
	p := c.config.Shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	eventually(t, "the first token is stored", func() bool { return server.Exists(p.value) })
	old, _ := server.Get(p.value)
	restore := func() {
		_ = server.Set(p.value, old)
		server.SetTTL(p.value, 24*time.Hour)
	}
	token, _ := c.Token(t.Context(), subject("alice"))
	restore()
	c.Reject(t.Context(), subject("alice"), token)
	if second := mustGet(t, c, "alice"); second == first {
		t.Error("the rejected token came back from Redis")
	}
	restore()
	fresh, _ := i.join(t, url, ring("a"))
	time.Sleep(time.Until(token.Expiry())) // the life of the token is what is waited for
	if got := mustGet(t, fresh, "alice"); got == first {
		t.Error("an expired token came back from Redis")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

// TestLifeIsBoundedByRedis has a replica whose clock is behind the writer's:
// the sealed expiry lies further ahead than it is.
func TestLifeIsBoundedByRedis(t *testing.T) {
	server := miniredis.RunT(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, "redis://"+server.Addr(), ring("a"))
	shared := c.config.Shared
	p := shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
	ahead := time.Now().Add(10 * time.Minute)
	token, _ := upstream.NewToken("of-a-fast-clock", "", ahead, ahead.Add(5*time.Minute))
	_ = server.Set(p.value, string(shared.sealer.seal(p, token)))
	server.SetTTL(p.value, time.Minute)
	got, err := c.Token(t.Context(), subject("alice"))
	if err != nil || got.AccessToken() != "of-a-fast-clock" {
		t.Fatalf("got %v %v", got.AccessToken(), err)
	}
	if left := time.Until(got.Expiry()); left > time.Minute {
		t.Errorf("%s are left of a token that Redis keeps for a minute", left)
	}
}

func TestValuesNobodyStoredAreMisses(t *testing.T) {
	url, client := startRedis(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url, ring("a"))
	shared := c.config.Shared
	at := func(name string) place { return shared.sealer.place(upstream.Fingerprint{}, subject(name)) }
	good := shared.sealer.seal(at("good"), someToken(t))
	plant := map[string]func(p place){
		"empty":    func(p place) { client.Set(t.Context(), p.value, "", time.Hour) },
		"text":     func(p place) { client.Set(t.Context(), p.value, "token", time.Hour) },
		"moved":    func(p place) { client.Set(t.Context(), p.value, good, time.Hour) },
		"n-no-end": func(p place) { client.Set(t.Context(), p.value, shared.sealer.seal(p, someToken(t)), 0) },
		"huge":     func(p place) { client.Set(t.Context(), p.value, strings.Repeat("x", 64<<20), time.Hour) },
		"list":     func(p place) { client.LPush(t.Context(), p.value, good) },
		"hash":     func(p place) { client.HSet(t.Context(), p.value, "a", good) },
		"old-ring": func(p place) {
			client.Set(t.Context(), p.value, mustSealer(t, ring("b")).seal(p, someToken(t)), time.Hour)
		},
		"lease-set": func(p place) { client.SAdd(t.Context(), p.lease, "x") },
	}
	for name, put := range plant {
		put(at(name))
		if got := mustGet(t, c, name); !strings.HasPrefix(got, name[:1]) {
			// Names of subjects with a space make tokens that the alphabet refuses.
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestFreshTokensCostRedisNothing(t *testing.T) {
	url, client := startRedis(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url, ring("a"))
	mustGet(t, c, "alice")
	p := c.config.Shared.sealer.place(upstream.Fingerprint{}, subject("alice"))
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

// TestE9_CutOffFromTheIssuer has one replica live on what others share.
func TestE9_CutOffFromTheIssuer(t *testing.T) {
	url, _ := startRedis(t)
	i := &issuer{life: time.Hour}
	lucky, _ := i.join(t, url, ring("a"))
	cut, r := i.join(t, url, ring("a"))
	r.cutOff.Store(true)
	for n := range 20 {
		_, _ = cut.Token(t.Context(), subject(fmt.Sprint("nobody-has-", n)))
	}
	want := mustGet(t, lucky, "alice")
	eventually(t, "the one that is cut off has the shared token", func() bool {
		token, err := cut.Token(t.Context(), subject("alice"))
		return err == nil && token.AccessToken() == want
	})
}

// TestQuietReplicaAsksRedisAgain has a replica whose token endpoint asks for
// quiet, so that only shared tokens help it, while Redis fails for a moment.
func TestQuietReplicaAsksRedisAgain(t *testing.T) {
	url, _ := startRedis(t)
	lucky, _ := (&issuer{life: time.Hour}).join(t, url, ring("a"))
	i := &issuer{life: time.Hour}
	i.fail.Store(&upstream.Error{Upstream: "up", Class: upstream.ClassThrottled, RetryAfter: 5 * time.Minute})
	quiet, _ := i.join(t, url, ring("a"))
	_, _ = quiet.Token(t.Context(), subject("alice")) // it is told to be quiet
	for range failuresToOpen {
		_ = quiet.config.Shared.do(t.Context(), "get", func(context.Context) error { return io.ErrUnexpectedEOF })
	}
	want := mustGet(t, lucky, "alice")
	eventually(t, "the quiet one has the shared token", func() bool {
		token, err := quiet.Token(t.Context(), subject("alice"))
		return err == nil && token.AccessToken() == want
	})
	if n := i.calls.Load(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}

// lookups are those under way at the name server of these tests, which does not
// answer: no test needs one.
var lookups atomic.Int32

func init() {
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		lookups.Add(1)
		defer lookups.Add(-1)
		_ = sleep(ctx, time.Second)
		return nil, os.ErrDeadlineExceeded
	}}
}

// TestE2_HungNamesCostNoMore has a Redis whose name nobody resolves. Neither the
// start nor an operation may wait for that.
func TestE2_HungNamesCostNoMore(t *testing.T) {
	for mode, query := range map[string]string{"standalone": "", "sentinel": "?master_name=m", "cluster": ""} {
		began := time.Now()
		s, err := NewShared(SharedConfig{URL: upstream.NewSecret("redis://" + mode + ".test:6379" + query), Mode: mode,
			Ring: ring("a"), Metrics: metrics.New("test"), Log: zerolog.Nop()})
		if err != nil {
			t.Fatal(err)
		}
		started := time.Since(began)
		_, err = s.get(t.Context(), s.sealer.place(upstream.Fingerprint{}, subject("alice")))
		if took := time.Since(began); err == nil || took > time.Second {
			t.Errorf("%s: start and an operation took %s and %s: %v", mode, started, took-started, err)
		}
		_ = s.Close()
	}
	eventually(t, "no look-up is under way", func() bool { return lookups.Load() == 0 })
}

// TestE2_HungRedisIsLeftAlone has a server that takes connections and commands
// and never answers.
func TestE2_HungRedisIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := (&issuer{life: time.Hour}).joinBy(t, "redis://localhost", ring("a"), func(s *Shared) {
			_ = s.client.Close()
			o := &redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				return ours, nil
			}}
			s.timeout = defaultTimeout
			bounded(o, s.timeout)
			s.client = redis.NewClient(o)
		})
		var slow int
		for n := range 50 {
			began := time.Now()
			mustGet(t, c, fmt.Sprint("s", n))
			switch took := time.Since(began); {
			case took > 250*time.Millisecond:
				t.Errorf("request %d took %s", n, took)
			case took > 0:
				slow++
			}
		}
		if slow != failuresToOpen {
			t.Errorf("%d requests waited for it, want %d", slow, failuresToOpen)
		}
	})
}
