package shared

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"token-sidecar/upstream"
)

// LeaseTime is how long a lease stands after it was taken or renewed, and so how
// long it outlives a holder that died.
const LeaseTime = 2 * time.Second

// Lease is the right, among all replicas, to make the one token request for a
// key. A holder that does not renew it loses it, and can then neither replace a
// shared token nor release the lease of another. The holder should call Renew
// while the token request runs, and must end with Store or Release, whose failure
// costs no more than that the others wait until the lease runs out.
type Lease struct {
	store *Store
	place Place
	owner string // random, so that no holder can be taken for another
}

// The scripts take the names of value and lease as keys, which a cluster needs
// to route them.
var (
	// acquireScript takes the lease if it is free, and returns whether it did,
	// how long the lease stands, and the shared value with its time to live: the
	// value may have been stored since the caller last looked. The same owner may
	// take the lease twice, because the client of a cluster sends the script again
	// if the connection ends before the answer.
	acquireScript = redis.NewScript(`
local taken = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) or redis.pcall('GET', KEYS[2]) == ARGV[1]
local value = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[3])
if type(value) ~= 'string' then value = '' end
return {taken and 1 or 0, redis.call('PTTL', KEYS[2]), value, redis.call('PTTL', KEYS[1])}`)

	// renewScript has the lease stand for its full time again, if it is the owner's.
	renewScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

	// storeScript stores the value and gives the lease back, if it is the owner's.
	storeScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1`)

	// releaseScript gives the lease back, if it is the owner's.
	releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// Acquired is what came of an attempt to take a lease.
type Acquired struct {
	Lease *Lease        // nil if another holds it
	Left  time.Duration // of the lease that stands now, whoever holds it; less than zero if it never ends
	Found Found         // the token that was there at that moment
}

// Acquire tries to take the lease of p, and reads the token there in the same
// step. It does not wait for a lease that another holds. With an error, the Lease
// is nil if Redis refused or was not asked. Else its answer is missing and the
// lease may have been taken: the caller should go on as if it held the Lease, lest
// the others wait for a holder that does not know that it is one.
func (s *Store) Acquire(ctx context.Context, p Place) (Acquired, error) {
	l := &Lease{store: s, place: p, owner: rand.Text()}
	var reply []any
	err := s.do(ctx, "acquire", func(ctx context.Context) (err error) {
		reply, err = acquireScript.Run(ctx, s.client, []string{p.value, p.lease}, l.owner, LeaseTime.Milliseconds(), maxSealed).Slice()
		if err == nil && len(reply) != 4 {
			err = errors.New("the reply does not have four parts")
		}
		return err
	})
	var answer redis.Error
	if errors.Is(err, errSkipped) || errors.As(err, &answer) {
		return Acquired{}, err
	}
	if err != nil {
		return Acquired{Lease: l}, err
	}
	number := func(i int) time.Duration {
		n, _ := reply[i].(int64)
		return time.Duration(n) * time.Millisecond
	}
	value, _ := reply[2].(string)
	a := Acquired{Left: number(1), Found: s.read("acquire", p, value, number(3))}
	if reply[0] != int64(1) {
		s.metrics.RedisOperation("lease", "busy")
		return a, nil
	}
	s.metrics.RedisOperation("lease", "ok")
	a.Lease = l
	return a, nil
}

// Renew renews the lease four times in each LeaseTime until ctx ends. It blocks
// until then; a renewal that is under way at the end is broken off, but Redis may
// take a moment over that too. What goes wrong is logged and counted here.
func (l *Lease) Renew(ctx context.Context) {
	tick := time.NewTicker(LeaseTime / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.run(ctx, "renew", renewScript, []string{l.place.lease}, l.owner, LeaseTime.Milliseconds())
		}
	}
}

// Store shares the token and gives the lease back, in one step, if the lease is
// still ours. If it was lost, a second operation shares the token only if there is
// none. A token that has expired is not shared. What goes wrong is logged and
// counted here.
func (l *Lease) Store(ctx context.Context, t upstream.Token) {
	left := time.Until(t.Expiry()).Milliseconds()
	if left <= 0 {
		l.Release(ctx)
		return
	}
	lost := l.run(ctx, "store", storeScript, []string{l.place.value, l.place.lease}, l.owner, l.store.sealer.seal(l.place, t), left)
	if lost {
		l.store.Add(ctx, l.place, t)
	}
}

// Release gives the lease back, if it is still ours. What goes wrong is logged and
// counted here.
func (l *Lease) Release(ctx context.Context) {
	l.run(ctx, "release", releaseScript, []string{l.place.lease}, l.owner)
}

// run runs one of the owner's scripts and returns whether the lease turned out to
// be lost, which is counted.
func (l *Lease) run(ctx context.Context, operation string, script *redis.Script, keys []string, args ...any) (lost bool) {
	s := l.store
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
