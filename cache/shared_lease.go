package cache

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"token-sidecar/upstream"
)

// leaseTime is how long a lease outlives a holder that died. It is renewed
// while the token request runs.
const leaseTime = 2 * time.Second

// lease is the right, among all replicas, to make the one token request for a
// key. Whoever holds it too long loses it, and can then neither replace a shared
// token nor release.
type lease struct {
	shared *Shared
	place  place
	owner  string // random, so that no holder can be taken for another
}

// The scripts take the names of value and lease as keys, which a cluster needs
// to route them.
var (
	// acquireScript takes the lease if it is free, and returns whether it did,
	// how long the lease stands, and the shared value with its time to live: it
	// may have been stored since the caller last looked. The client of a cluster
	// sends it again if the connection ends before the answer.
	acquireScript = redis.NewScript(`
local taken = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.pcall('GET', KEYS[2]) == ARGV[1]
local value = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[3])
if type(value) ~= 'string' then value = '' end
return {taken and 1 or 0, redis.call('PTTL', KEYS[2]), value, redis.call('PTTL', KEYS[1])}`)

	renewScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

	storeScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`)

	releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// acquired is what acquireScript saw.
type acquired struct {
	lease *lease        // nil: another holds it; with an error: it may be ours
	left  time.Duration // of the lease that stands; under zero: it never ends
	found found
}

// acquire tries to take the lease of p, and reads the token there anew. An error
// that is no answer of Redis leaves open whether the lease was taken.
func (s *Shared) acquire(ctx context.Context, p place) (acquired, error) {
	l := &lease{shared: s, place: p, owner: rand.Text()}
	var reply []any
	err := s.do(ctx, "acquire", func(ctx context.Context) (err error) {
		reply, err = acquireScript.Run(ctx, s.client, []string{p.value, p.lease}, l.owner, leaseTime.Milliseconds(), maxSealed).Slice()
		if err == nil && len(reply) != 4 {
			err = errors.New("the reply does not have four parts")
		}
		return err
	})
	var answer redis.Error
	if errors.Is(err, errSkipped) || errors.As(err, &answer) {
		return acquired{}, err
	}
	if err != nil {
		return acquired{lease: l}, err
	}
	number := func(i int) time.Duration {
		n, _ := reply[i].(int64)
		return time.Duration(n) * time.Millisecond
	}
	value, _ := reply[2].(string)
	a := acquired{left: number(1), found: s.read("acquire", p, value, number(3))}
	if reply[0] != int64(1) {
		s.metrics.RedisOperation("lease", "busy")
		return a, nil
	}
	s.metrics.RedisOperation("lease", "ok")
	a.lease = l
	return a, nil
}

// renew renews the lease again and again until ctx ends, and the renewal under way
// then: Redis may take its time over it.
func (l *lease) renew(ctx context.Context) {
	tick := time.NewTicker(leaseTime / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.run(ctx, "renew", renewScript, []string{l.place.lease}, l.owner, leaseTime.Milliseconds())
		}
	}
}

// store shares the token and gives the lease back, if it is still ours; else it
// shares the token only where there is none.
func (l *lease) store(ctx context.Context, t upstream.Token) {
	left := time.Until(t.Expiry()).Milliseconds()
	if left <= 0 {
		l.release(ctx)
		return
	}
	lost := l.run(ctx, "store", storeScript, []string{l.place.value, l.place.lease}, l.owner, l.shared.sealer.seal(l.place, t), left)
	if lost {
		l.shared.add(ctx, l.place, t)
	}
}

// release gives the lease back, if it is still ours.
func (l *lease) release(ctx context.Context) {
	l.run(ctx, "release", releaseScript, []string{l.place.lease}, l.owner)
}

// run runs one of the owner's scripts and returns whether the lease turned out to
// be lost, which is counted.
func (l *lease) run(ctx context.Context, operation string, script *redis.Script, keys []string, args ...any) (lost bool) {
	s := l.shared
	err := s.do(ctx, operation, func(ctx context.Context) error {
		n, err := script.Run(ctx, s.client, keys, args...).Int()
		lost = err == nil && n != 1
		return err
	})
	switch {
	case err != nil:
	case lost:
		s.metrics.RedisOperation(operation, "lost")
	default:
		s.metrics.RedisOperation(operation, "ok")
	}
	return lost
}
