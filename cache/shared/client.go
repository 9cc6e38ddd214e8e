package shared

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"token-sidecar/upstream"
)

// newRedisClient parses the URL by mode. Its errors do not quote it.
func newRedisClient(c Config) (redis.UniversalClient, error) {
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
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, c.Timeout, c.Timeout, c.Timeout
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
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, c.Timeout, c.Timeout, c.Timeout
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

const (
	// poolSize is the most connections that one client has to one server.
	poolSize = 16
	// dialTimeout bounds the making of a connection. It may be longer than the
	// timeout of an operation: the operation that needs the connection now gives up
	// in time, and the connection is kept for a later one.
	dialTimeout = time.Second
)

// bounded makes deadlines hold: by default go-redis does not end a read when
// its context ends, and it tries three times.
func bounded(o *redis.Options, timeout time.Duration) {
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, timeout, timeout, timeout
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
func dialer(c Config, config *tls.Config, most limits) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.Dial
	if dial == nil {
		dial = redis.NewDialer(&redis.Options{DialTimeout: dialTimeout, TLSConfig: config})
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return withLimits(conn, most), nil
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
	case errors.Is(err, errReplyTooLarge):
		return "reply_too_large"
	case !errors.As(err, &answer):
		cause := upstream.ConnError(err)
		if cause == "http_response_timeout" {
			cause = "connection_read_timeout" // RFC 9209 section 2.3; Redis does not speak HTTP
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
