// Package shared keeps in Redis the tokens that all replicas share. Redis is
// optional and not trusted: it sees only sealed values under names that tell
// nothing, and whatever goes wrong there is a miss.
//
// Each file is met by a token on its way, in this order. store.go is what package
// cache calls: a [Store], which gets and adds tokens. seal.go says in which
// [Place] of Redis the token of a key belongs, seals it for that place, and opens
// what was found there. breaker.go decides whether Redis is asked at all, since a
// Redis that fails is left alone for a while. scripts.go sends what is asked at the
// same time together, and client.go is the connection to Redis and what its errors
// are called. reply.go bounds what comes over that connection, before go-redis makes
// room for it. look.go reads what is shared, and takes the lease in the same step:
// lease.go has the replicas agree on which of them makes the token request, and
// stores what that one got. budget.go has all of them together make no more of them than
// they may, and bucket.go is how Redis counts them. clock.go dates it by the clock of Redis, the one clock
// that all replicas see. try.go finds out whether Redis can be used at all.
package shared

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Config configures a [Store]. New keeps a copy.
type Config struct {
	// URL is a Redis URL as go-redis parses it in Mode. It may hold a password.
	URL upstream.Secret
	// Mode is "standalone", "sentinel" or "cluster". Empty means standalone.
	Mode string
	// TLS is used for rediss:// URLs; nil means the roots of the system. It must
	// not be changed after New.
	TLS *tls.Config
	// Ring holds the keys that seal the values: the first key seals, and all of
	// them open. It must not be empty.
	Ring []SealKey
	// Metrics counts the operations. Required.
	Metrics *metrics.Metrics
	// Log is told when Redis fails and when it works again. The zero Logger
	// writes nothing.
	Log zerolog.Logger
	// Timeout bounds one operation, the wait for a connection included. Zero
	// means 240 ms, which leaves the rest of a quarter of a second to whatever
	// else a request does that has to look for its token here.
	Timeout time.Duration
	// TokenTimeout bounds one token request of a replica that holds a lease. Zero
	// means 10 s, as in package cache.
	TokenTimeout time.Duration
	// Budgets is whether Budget will be called, which needs one right more.
	Budgets bool
	// Dial makes the connections, in every mode. Nil means that go-redis makes
	// them, which is right for everything but tests with a network of their own:
	// a connection that Dial returns is used as it is, without TLS. Replies are
	// bounded all the same.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// defaultTimeout is the Timeout of a Config that names none.
const defaultTimeout = 240 * time.Millisecond

// Store is the tokens in Redis. All methods are safe for concurrent use. Those
// that ask Redis take a context; they block until Redis has answered, the context
// has ended or the timeout has passed, and while Redis is left alone after
// failures they return at once.
type Store struct {
	timeout  time.Duration
	client   redis.UniversalClient
	scripts  *scripts
	sealer   *sealer
	clock    clock
	breaker  breaker
	cluster  bool          // value, lease and budget may lie on different nodes
	budgets  bool          // see Config
	longest  time.Duration // of a token request under a lease
	replica  int           // tells this replica from others, by chance
	turnWait time.Duration // how long the holder of a lease may wait for its turn before that
	seen     seen
	metrics  *metrics.Metrics
	log      zerolog.Logger
	telling  rate.Sometimes // limits the lines about operations that fail while the breaker is closed
}

// New returns a Store, which the caller must Close. It fails if the URL, the mode
// or a key is not valid, and its errors quote neither the URL nor a key. It makes
// no connection yet: the first operation does, because a Redis that is not there
// is no reason not to start. New turns go-redis' own logging off, for the whole
// process: it would write addresses and errors of servers to stderr.
func New(c Config) (*Store, error) {
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.TokenTimeout == 0 {
		c.TokenTimeout = 10 * time.Second
	}
	sealer, err := newSealer(c.Ring)
	if err != nil {
		return nil, err
	}
	client, err := newRedisClient(c)
	if err != nil {
		return nil, err
	}
	redis.SetLogger(silent{})
	s := &Store{replica: 1 + rand.IntN(1e9), timeout: c.Timeout, client: client, scripts: newScripts(client, c.Timeout), sealer: sealer,
		longest: c.TokenTimeout, cluster: c.Mode == "cluster", budgets: c.Budgets, metrics: c.Metrics, log: c.Log, telling: rate.Sometimes{Interval: time.Minute}}
	if c.Budgets {
		s.turnWait = c.TokenTimeout / 2
	}
	return s, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Close closes all connections to Redis. Operations that are under way fail.
func (s *Store) Close() error {
	s.scripts.close()
	return s.client.Close()
}

// Timeout returns the longest time that one operation takes. A caller that makes
// several in a row can bound all of them by it too.
func (s *Store) Timeout() time.Duration { return s.timeout }

// Available reports whether Redis would be asked now. It is false while Redis is
// left alone after failures, and it does not block.
func (s *Store) Available() bool { return s.breaker.mayAllow() }

// Place returns where the token of key is shared among those who use credential,
// the fingerprint of a client id, its secret and a token endpoint. It does not
// ask Redis.
func (s *Store) Place(credential upstream.Fingerprint, key upstream.Key) Place {
	return s.sealer.place(credential, key)
}

var errSkipped = errors.New("redis is left alone for a while")

// do makes one operation within the timeout and reports it to the breaker. A nil
// reply is no failure, and a context that the caller cancelled is none either.
func (s *Store) do(caller context.Context, operation string, f func(context.Context) error) error {
	began, ok := s.breaker.allow()
	if !ok {
		s.metrics.RedisOperation(operation, "skipped")
		return errSkipped
	}
	defer s.breaker.giveUp(began) // does nothing if report was called
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	err := f(ctx)
	if err != nil && errors.Is(caller.Err(), context.Canceled) {
		return err
	}
	if errors.Is(err, ErrNoScripts) {
		// Redis works, and was asked for what its user may not do.
		s.metrics.RedisOperation(operation, "error")
		s.seen.note(operation, "NOPERM")
		s.telling.Do(func() {
			s.log.Warn().Str("cause", "NOPERM").Msg("the user of redis may not run scripts; replicas do not agree on who fetches a token")
		})
		return err
	}
	failed := err != nil && !errors.Is(err, redis.Nil)
	cause := redisCause(err)
	if failed {
		s.seen.note(operation, cause)
	} else {
		s.seen.note(operation, "")
	}
	switch changed := s.breaker.report(began, !failed, cause); {
	case changed && failed:
		s.log.Warn().Str("cause", cause).Msg("redis fails; tokens are not shared for now")
	case changed:
		s.log.Info().Msg("redis works again")
	case failed: // alone among successes, as when Redis can be read but not written
		s.telling.Do(func() {
			s.log.Warn().Str("operation", operation).Str("cause", cause).Msg("a redis operation failed")
		})
	}
	if failed {
		s.metrics.RedisOperation(operation, "error")
		s.relearn(ctx)
		return err
	}
	return nil
}

// Sealed is a token in the form in which it is shared.
type Sealed struct {
	Version Version // of the value
	value   string
	expiry  time.Time // by our own clock
}

// Seal returns t as it is to be shared at p. It does not ask Redis.
func (s *Store) Seal(p Place, t upstream.Token) Sealed {
	ahead := s.clock.ahead()
	value := string(s.sealer.seal(p, sealed{t.AccessToken(), t.Scope(), t.Issued().Add(ahead), t.Expiry().Add(ahead)}))
	return Sealed{versionOf(value), value, t.Expiry()}
}

// Get reads the token at p, and where a ring that is being rotated may have it,
// without a script. It returns the zero Found and no error if there is none, and an
// error if Redis failed or is left alone.
func (s *Store) Get(ctx context.Context, p Place) (Found, error) {
	return s.get(ctx, p, p.value, p.others)
}

// Rotating reports whether the ring has more than one key, so that a token may lie under
// another name. It does not ask Redis.
func (s *Store) Rotating() bool { return len(s.sealer.names) > 1 }

// Other is Get for the names of the ring's other keys alone. It asks Redis only
// while the ring has more than one key.
func (s *Store) Other(ctx context.Context, p Place) (Found, error) {
	if len(p.others) == 0 {
		return Found{}, nil
	}
	return s.get(ctx, p, p.others[0], p.others[1:])
}

func (s *Store) get(ctx context.Context, p Place, first string, others []string) (Found, error) {
	names := append([]string{first}, others...)
	values, ttls := make([]*redis.StringCmd, len(names)), make([]*redis.DurationCmd, len(names))
	wrongType := false
	began := time.Now()
	err := s.do(ctx, "get", func(ctx context.Context) error {
		pipe := s.client.Pipeline()
		for i, name := range names {
			// GETRANGE, so that a huge value is never read whole.
			values[i], ttls[i] = pipe.GetRange(ctx, name, 0, maxSealed), pipe.PTTL(ctx, name)
		}
		_, err := pipe.Exec(ctx)
		if wrongType = err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"); wrongType {
			return nil // Redis works: somebody else put this there
		}
		return err
	})
	if err != nil {
		return Found{}, err
	}
	if wrongType {
		s.metrics.RedisOperation("get", "invalid") // the next token that is stored replaces it
	}
	now := s.clock.learn(time.Time{}, began)
	for i := range names {
		if value := values[i].Val(); value != "" {
			if f := s.read("get", p, value, ttls[i].Val(), now, time.Since(began)); !f.Token.IsZero() {
				return f, nil
			}
		}
	}
	s.metrics.RedisOperation("get", "miss")
	return Found{}, nil
}

// Add shares a token that was fetched without a lease, unless there is a value at
// p already that is not the one known. The value ends in Redis when the token
// expires. What goes wrong is logged and counted here, and there is nothing for the
// caller to do about it.
func (s *Store) Add(ctx context.Context, p Place, t Sealed, known Version) {
	left := time.Until(t.expiry)
	if left < time.Millisecond {
		return
	}
	err := s.do(ctx, "add", func(ctx context.Context) error {
		err := s.scripts.run(ctx, storeScript, p.names(), "", t.value, left.Milliseconds(), maxSealed, known.hex()).Err()
		if errors.Is(err, ErrNoScripts) {
			err = s.client.SetNX(ctx, p.value, t.value, left).Err()
		}
		return err
	})
	if err == nil {
		s.metrics.RedisOperation("add", "ok")
	}
}
