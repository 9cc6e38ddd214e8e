// Package goredis has go-redis reach Redis for package shared, within bounds: an operation
// ends in time, and a hostile Redis costs little memory.
//
// goredis.go makes the client of a server, of sentinels or of a cluster, passes commands on
// to it and translates its errors. reply.go bounds what comes over a connection, before
// go-redis makes room for it.
//
// No other package of the program imports go-redis. It is large, and whatever imports it
// takes long to compile: the demo does without it.
package goredis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// Driver is a [shared.Driver] that has go-redis do it.
type Driver struct{}

// CheckURL implements [shared.Driver].
func (Driver) CheckURL(mode string, url upstream.Secret) error {
	var err error
	switch mode {
	case "sentinel":
		_, err = redis.ParseFailoverURL(url.Reveal())
	case "cluster":
		_, err = redis.ParseClusterURL(url.Reveal())
	default:
		_, err = redis.ParseURL(url.Reveal())
	}
	if err != nil {
		return errors.New("go-redis does not take the URL in this mode") // its own error may quote it
	}
	return nil
}

// Connect implements [shared.Driver]. It turns go-redis' own logging off, for the whole
// process: it would write addresses and errors of servers to stderr.
func (Driver) Connect(c shared.Config) (shared.Client, error) {
	redis.SetLogger(silent{}) // with min_idle_conns in the URL it dials as soon as the client is made
	universal, err := newClient(c)
	if err != nil {
		return nil, err
	}
	return client{universal}, nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// newClient parses the URL by mode. Its errors do not quote it.
func newClient(c shared.Config) (redis.UniversalClient, error) {
	url := c.URL.Reveal()
	switch c.Mode {
	case "", "standalone":
		o, err := redis.ParseURL(url)
		if err != nil {
			return nil, errors.New("the Redis URL is not valid")
		}
		bounded(o, c.Timeout)
		secured(&o.TLSConfig, c.TLS)
		o.Dialer = dialer(c, o.TLSConfig, serverLimits)
		return redis.NewClient(o), nil
	case "sentinel":
		o, err := redis.ParseFailoverURL(url)
		if err != nil || o.MasterName == "" {
			return nil, errors.New("the Redis URL is not valid for sentinel; it needs master_name")
		}
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = shared.DialTimeout, c.Timeout, c.Timeout, c.Timeout
		o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
		o.PipelinePoolSize = -1
		// A replica of Redis lags behind its master, and a lease is only at the master.
		o.ReplicaOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		secured(&o.TLSConfig, c.TLS)
		o.Dialer = dialer(c, o.TLSConfig, serverLimits)
		return redis.NewFailoverClient(o), nil
	case "cluster":
		o, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, errors.New("the Redis URL is not valid for cluster")
		}
		o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = shared.DialTimeout, c.Timeout, c.Timeout, c.Timeout
		o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
		o.PipelinePoolSize = -1
		o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
		o.MaxRedirects = 3
		// Routing policies are for commands without a key, and they cost a COMMAND
		// that keeps to no deadline of ours.
		o.DisableRoutingPolicies = true
		o.ReadOnly, o.RouteByLatency, o.RouteRandomly = false, false, false
		secured(&o.TLSConfig, c.TLS)
		o.Dialer = dialer(c, o.TLSConfig, clusterLimits)
		return redis.NewClusterClient(o), nil
	}
	return nil, fmt.Errorf("no Redis mode is named %q", c.Mode)
}

// poolSize is the most connections that one client has to one server.
const poolSize = 16

// bounded makes deadlines hold: by default go-redis does not end a read when
// its context ends, and it tries three times.
func bounded(o *redis.Options, timeout time.Duration) {
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = shared.DialTimeout, timeout, timeout, timeout
	o.PoolSize, o.MaxActiveConns, o.DisableIdentity, o.Protocol = poolSize, poolSize, true, 2
	o.PipelinePoolSize = -1 // no second pool beside it
	// Maintenance notifications are for version 3 of the protocol; yet each new
	// client would look its server's name up for them, for up to two seconds,
	// whatever the deadline.
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
}

// secured puts our roots and certificates in place of what the URL asked for,
// and keeps its server name. A skip_verify in the URL is not honored. Without TLS
// in the URL it does nothing.
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

// dialer returns how connections are made, in every mode: by c.Dial, else as go-redis
// itself makes them, with TLS if config is not nil. Their replies are bounded.
func dialer(c shared.Config, config *tls.Config, most limits) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = redis.NewDialer(&redis.Options{DialTimeout: shared.DialTimeout, TLSConfig: config})
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return withLimits(conn, most), nil
	}
}

// client is a [shared.Client].
type client struct{ redis redis.UniversalClient }

// Do implements [shared.Client].
func (c client) Do(ctx context.Context, commands ...shared.Command) []shared.Reply {
	pipe := c.redis.Pipeline()
	sent := make([]*redis.Cmd, len(commands))
	for i, command := range commands {
		sent[i] = pipe.Do(ctx, command...)
	}
	// Each command has its own error, unless Redis refused the connection itself: go-redis
	// then tells that here alone, and leaves the commands with neither error nor reply.
	_, refused := pipe.Exec(ctx)
	replies := make([]shared.Reply, len(commands))
	for i, cmd := range sent {
		value, err := cmd.Result()
		if value == nil && err == nil {
			err = refused
		}
		replies[i] = shared.Reply{Value: value, Err: failure(err)}
	}
	return replies
}

// failure returns err as package shared knows it.
func failure(err error) error {
	var answer redis.Error
	switch {
	case err == redis.Nil:
		return nil
	case errors.Is(err, redis.Nil): // what the sentinels answer, and not the command
		return shared.ErrNoMaster
	case errors.Is(err, redis.ErrPoolTimeout):
		return shared.ErrPoolTimeout
	case errors.Is(err, shared.ErrReplyTooLarge):
		return err
	case errors.As(err, &answer):
		return shared.ReplyError(answer.Error())
	}
	return err
}

// Reload implements [shared.Client]. By itself go-redis asks a node which serves what only if
// the node answers, or every 10 s.
func (c client) Reload() {
	if cluster, ok := c.redis.(*redis.ClusterClient); ok {
		cluster.ReloadState(context.Background())
	}
}

// Close implements [shared.Client].
func (c client) Close() error { return c.redis.Close() }
