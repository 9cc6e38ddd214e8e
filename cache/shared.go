package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// SharedConfig configures the tokens that replicas share through Redis.
type SharedConfig struct {
	// URL is a Redis URL as go-redis parses it in Mode. It may hold a password.
	URL upstream.Secret
	// Mode is "standalone", "sentinel" or "cluster". Empty means standalone.
	Mode string
	// TLS is used for rediss:// URLs; nil means the system's roots.
	TLS *tls.Config
	// Ring seals the values: the first key seals, all open.
	Ring []SealKey
	// Metrics counts the operations. Required.
	Metrics *metrics.Metrics
	// Log is told when Redis fails and when it works again.
	Log zerolog.Logger

	timeout time.Duration // zero: defaultTimeout
}

// Shared is the tokens in Redis: untrusted and optional. Whatever goes wrong
// there is a miss. All methods are safe for concurrent use; each gives up
// after the timeout.
type Shared struct {
	timeout time.Duration
	client  redis.UniversalClient
	sealer  *sealer
	breaker breaker
	metrics *metrics.Metrics
	log     zerolog.Logger
	telling rate.Sometimes // of operations that fail while the breaker is closed
}

// defaultTimeout bounds one exchange with Redis, and all those that a load makes
// before it first asks the token endpoint or finds another replica at it. It
// leaves the rest of a quarter of a second to what else such a request needs.
const defaultTimeout = 240 * time.Millisecond

// NewShared returns the shared tokens. It makes no connection yet: the first
// operation does, and whether Redis is there is no reason not to start.
func NewShared(c SharedConfig) (*Shared, error) {
	setDefault(&c.timeout, defaultTimeout)
	sealer, err := newSealer(c.Ring)
	if err != nil {
		return nil, err
	}
	client, err := newRedisClient(c)
	if err != nil {
		return nil, err
	}
	// go-redis logs to stderr by itself, with addresses and errors of servers.
	redis.SetLogger(silent{})
	return &Shared{timeout: c.timeout, client: client, sealer: sealer, metrics: c.Metrics, log: c.Log,
		telling: rate.Sometimes{Interval: time.Minute}}, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// newRedisClient parses the URL by mode. Its errors do not quote it.
func newRedisClient(c SharedConfig) (redis.UniversalClient, error) {
	url := c.URL.Reveal()
	switch c.Mode {
	case "", "standalone":
		o, err := redis.ParseURL(url)
		if err != nil {
			return nil, errors.New("the Redis URL is not valid")
		}
		bounded(o, c.timeout)
		secured(&o.TLSConfig, c.TLS)
		return redis.NewClient(o), nil
	case "sentinel":
		o, err := redis.ParseFailoverURL(url)
		if err != nil || o.MasterName == "" {
			return nil, errors.New("the Redis URL is not valid for sentinel; it needs master_name")
		}
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, c.timeout, c.timeout, c.timeout
		o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
		o.PipelinePoolSize = -1
		// A replica lags behind, and a lease is only at the master.
		o.ReplicaOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		secured(&o.TLSConfig, c.TLS)
		return redis.NewFailoverClient(o), nil
	case "cluster":
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, errors.New("the Redis URL is not valid for cluster")
		}
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, c.timeout, c.timeout, c.timeout
		o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
		o.PipelinePoolSize = -1
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.MaxRedirects = 3
		// They are for commands without a key, and cost a COMMAND that keeps to no
		// deadline of ours.
		o.DisableRoutingPolicies = true
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		secured(&o.TLSConfig, c.TLS)
		return redis.NewClusterClient(o), nil
	}
	return nil, fmt.Errorf("no Redis mode is named %q", c.Mode)
}

const (
	poolSize = 16
	// dialTimeout is that of a connection made for later: who needs it now waits
	// no longer than the timeout.
	dialTimeout = time.Second
)

// bounded makes deadlines hold: by default go-redis does not end a read when
// its context ends, and tries three times.
func bounded(o *redis.Options, timeout time.Duration) {
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, timeout, timeout, timeout
	o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
	o.PipelinePoolSize = -1 // no second pool beside it
	// They are for version 3 of the protocol; yet each new client would look its
	// server's name up for them, for up to two seconds, whatever the deadline.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// secured puts our roots and certificates in place of what the URL asked for,
// keeping its server name. skip_verify is not honored.
func secured(parsed **tls.Config, ours *tls.Config) {
	if *parsed == nil {
		return
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ours != nil {
		config = ours.Clone()
	}
	config.ServerName = (*parsed).ServerName
	*parsed = config
}

// Close closes all connections.
func (s *Shared) Close() error { return s.client.Close() }

var errSkipped = errors.New("redis is left alone for a while")

// do makes one operation within the timeout and reports it to the breaker. A nil
// reply is no failure, and nor is that the caller's context was cancelled.
func (s *Shared) do(caller context.Context, operation string, f func(context.Context) error) error {
	began, ok := s.breaker.allow()
	if !ok {
		s.metrics.RedisOperation(operation, "skipped")
		return errSkipped
	}
	defer s.breaker.giveUp(began) // unless it has been reported
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	err := f(ctx)
	if err != nil && errors.Is(caller.Err(), context.Canceled) {
		return err
	}
	failed := err != nil && !errors.Is(err, redis.Nil)
	cause := redisCause(err)
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

// relearn has the client of a cluster ask anew which node serves what, in the
// background: the failure may be that of a node which another has replaced. By
// itself go-redis asks a node for that only if it answers, or every 10 s.
func (s *Shared) relearn(ctx context.Context) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// redisCause names an error by its code, since the text of a Redis error may
// quote the command it answers.
func redisCause(err error) string {
	if err == nil {
		return "none"
	}
	var answer redis.Error
	switch {
	case errors.Is(err, redis.ErrPoolTimeout):
		return "connection_limit_reached"
	case !errors.As(err, &answer):
		cause := upstream.ConnError(err)
		if cause == "http_response_timeout" {
			cause = "connection_read_timeout" // RFC 9209 section 2.3; it is no HTTP
		}
		return cause
	}
	code, _, _ := strings.Cut(answer.Error(), " ")
	for _, known := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "READONLY", "OOM", "LOADING", "BUSY", "MISCONF",
		"MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "NOSCRIPT", "WRONGTYPE", "NOREPLICAS"} {
		if code == known {
			return known
		}
	}
	return "ERR"
}

// found is a shared token and how long Redis keeps it.
type found struct {
	token upstream.Token // zero: none
	life  time.Duration  // from issue to expiry
	left  time.Duration  // of it, by the smaller of what is sealed and Redis' own
}

// get reads the token at p.
func (s *Shared) get(ctx context.Context, p place) (found, error) {
	var value *redis.StringCmd
	var ttl *redis.DurationCmd
	wrongType := false
	err := s.do(ctx, "get", func(ctx context.Context) error {
		pipe := s.client.Pipeline()
		// GETRANGE, so that a huge value is never read whole.
		value, ttl = pipe.GetRange(ctx, p.value, 0, maxSealed), pipe.PTTL(ctx, p.value)
		_, err := pipe.Exec(ctx)
		if wrongType = err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"); wrongType {
			return nil // no fault of Redis
		}
		return err
	})
	if err != nil {
		return found{}, err
	}
	if wrongType {
		s.metrics.RedisOperation("get", "invalid") // storing replaces it
		return found{}, nil
	}
	return s.read("get", p, value.Val(), ttl.Val()), nil
}

// read opens what was found at p. A value that does not open, or that has no
// end, is a miss: nobody of us stored it.
func (s *Shared) read(operation string, p place, value string, ttl time.Duration) found {
	if value == "" {
		s.metrics.RedisOperation(operation, "miss")
		return found{}
	}
	token, err := s.sealer.open(p, []byte(value))
	if err != nil || ttl <= 0 {
		s.metrics.RedisOperation(operation, "invalid")
		return found{}
	}
	left := min(time.Until(token.Expiry()), ttl)
	if left <= 0 {
		s.metrics.RedisOperation(operation, "miss")
		return found{}
	}
	s.metrics.RedisOperation(operation, "ok")
	life := token.Expiry().Sub(token.Issued())
	return found{token.EndingBy(time.Now().Add(left)), life, left}
}

// add shares a token that was fetched without a lease, unless there is one.
func (s *Shared) add(ctx context.Context, p place, t upstream.Token) {
	left := time.Until(t.Expiry())
	if left < time.Millisecond {
		return
	}
	err := s.do(ctx, "add", func(ctx context.Context) error {
		return s.client.SetNX(ctx, p.value, s.sealer.seal(p, t), left).Err()
	})
	if err == nil {
		s.metrics.RedisOperation("add", "ok")
	}
}
