// Package shared keeps in Redis the tokens that all replicas share. Redis is
// optional and not trusted: it sees only sealed values under names that tell
// nothing, and whatever goes wrong there is a miss.
//
// A token meets the files in this order. store.go sets the [Store] up that package cache
// calls, and try.go finds out whether Redis can be used at all. get.go reads
// and adds a token without a lease. look.go reads it and takes the lease in the same step:
// lease.go has the replicas agree on which of them makes the token request, and stores
// what that one got. budget.go has all of them together make no more token requests than
// they may; bucket.go is how Redis counts them.
//
// Whatever is asked of Redis goes through operation.go, which bounds and counts it, and
// status.go remembers how it went. value.go is the form in which a token is shared.
// scripts.go sends the scripts that are asked for at the same time together. breaker.go
// leaves a Redis that fails alone for a while. client.go is what is needed of a client of
// Redis, and what its errors are called; package goredis has one. seal.go says in which [Place] of Redis the token of a key belongs,
// seals it for that place, and opens what was found there. clock.go dates it by the clock
// of Redis, the one clock that all replicas see.
package shared

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Config configures a [Store]. New keeps a copy.
type Config struct {
	// Driver makes the client. Required.
	Driver Driver
	// URL is a Redis URL that Driver takes in Mode. It may hold a password.
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
	// Dial makes the connections, in every mode. Nil means that the driver makes
	// them, which is right for everything but tests with a network of their own:
	// a connection that Dial returns is used as it is, without TLS. Replies are
	// bounded all the same.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// defaultTimeout is the Timeout of a Config that names none.
const defaultTimeout = 240 * time.Millisecond

// Store is the client for all that replicas share in Redis: tokens, leases and budgets. All
// methods are safe for concurrent use. Those that ask Redis take a context; they block
// until Redis has answered, the context has ended or the timeout has passed (in a cluster
// [Store.Look] may take three timeouts; Begin, Try and [Lease.Renew] say how long they
// take), and while Redis is left alone after failures they return at once.
type Store struct {
	timeout  time.Duration
	client   Client
	scripts  *scripts
	sealer   *sealer
	clock    clock
	breaker  breaker
	cluster  bool          // value, lease and budget may lie on different nodes
	budgets  bool          // see Config
	longest  time.Duration // of a token request under a lease
	replica  int           // tells this replica from others, by chance
	turnWait time.Duration // how long the holder of a lease may wait for its turn before that: twice the patience of package cache
	health   health
	metrics  *metrics.Metrics
	log      zerolog.Logger
	telling  rate.Sometimes // limits the lines about operations that fail while the breaker is closed
}

// New returns a Store, which the caller must Close. It fails if the URL, the mode
// or a key is not valid, and its errors quote neither the URL nor a key. It makes
// no connection yet: the first operation does, because a Redis that is not there
// is no reason not to start.
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
	client, err := c.Driver.Connect(c)
	if err != nil {
		return nil, err
	}
	s := &Store{replica: 1 + rand.IntN(1e9), timeout: c.Timeout, client: client, scripts: newScripts(client, c.Timeout), sealer: sealer,
		longest: c.TokenTimeout, cluster: c.Mode == "cluster", budgets: c.Budgets, metrics: c.Metrics, log: c.Log, telling: rate.Sometimes{Interval: time.Minute}}
	if c.Budgets {
		s.turnWait = c.TokenTimeout / 2
	}
	return s, nil
}

// Close closes all connections to Redis. Operations that are under way fail.
func (s *Store) Close() error {
	s.scripts.close()
	return s.client.Close()
}

// Timeout returns the longest time that one question to Redis takes. A caller that makes
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
