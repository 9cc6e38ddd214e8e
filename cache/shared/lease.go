package shared

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"
)

// LeaseTime is how long a lease stands after it was taken or renewed, and so how
// long it outlives a holder that died.
const LeaseTime = 2 * time.Second

// Lease is the right, among all replicas, to make the one token request for a
// key. A holder that does not renew it loses it, and can then not release the
// lease of another. The holder should call Renew while the token request runs, and
// must end with Store, Forget or Release, whose failure costs no more than that
// the others wait until the lease runs out.
type Lease struct {
	store *Store
	place Place
	owner string  // see newOwner
	known Version // the value that was there when the lease was taken
}

// Renewals, stores and releases take the names as keys, which a cluster needs to
// route them.
var (
	// renewScript has the lease stand for its full time again, if it is the owner's.
	renewScript = newScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

	// storeScript stores a value unless there is another than the one that was there
	// when its token request began: that other one is newer. It gives the lease
	// back, if it is the owner's, and returns 1 if it was; 2 means that there was no
	// owner.
	storeScript = newScript(`
local ours = ARGV[1] ~= '' and redis.call('GET', KEYS[2]) == ARGV[1]
local value = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[4])
if type(value) ~= 'string' or value == '' or redis.sha1hex(value) == ARGV[5] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
if ARGV[1] == '' then return 2 end
if not ours then return 0 end
redis.call('DEL', KEYS[2])
return 1`)

	// forgetScript deletes the value, if it is the one named, and gives the lease
	// back, if it is the owner's.
	forgetScript = newScript(`
local value = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[2])
if type(value) == 'string' and redis.sha1hex(value) == ARGV[3] then redis.call('DEL', KEYS[1]) end
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
return 1`)

	// releaseScript gives the lease back, if it is the owner's.
	releaseScript = newScript(`
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)
)

// An owner is 8 bytes with the time of Redis at which the lease was taken, as the
// replica knows it, 16 random letters and digits (80 bits), and 16 bytes of a keyed hash over both and the
// place: only a replica can make one, and one that was recorded is of no use later.
const (
	ownerBytes  = 40
	ownerHashed = 24
)

func (s *Store) newOwner(p Place) string {
	owner := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(s.clock.ahead()).UnixMilli()))
	owner = append(owner, rand.Text()[:16]...)
	return string(append(owner, p.proof(owner)...))
}

// maxDrift is how far the clocks of two replicas, as set by that of Redis, may
// differ: by the time that an answer of Redis takes and the clocks' drift since.
const maxDrift = 3 * time.Second

// believable reports whether a replica that asks the token endpoint for longest at
// most may hold a lease of this owner at the time now of Redis, which is zero if
// Redis did not tell it.
func (p Place) believable(owner string, now time.Time, longest time.Duration) bool {
	if len(owner) != ownerBytes || !p.proves(owner[:ownerHashed], owner[ownerHashed:]) {
		return false
	}
	if now.IsZero() {
		return true
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64([]byte(owner[:8])))))
	return age > -maxDrift && age < longest+LeaseTime+maxDrift
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
			l.stand(ctx, LeaseTime)
		}
	}
}

// stand has the lease stand for so long from now on, and reports whether it does.
func (l *Lease) stand(ctx context.Context, d time.Duration) bool {
	return l.run(ctx, "renew", renewScript, []string{l.place.lease}, l.owner, d.Milliseconds())
}

// Store shares the token and gives the lease back, in one step. It shares nothing
// if there is a newer value than when the lease was taken, or if the token has
// expired. What goes wrong is logged and counted here.
func (l *Lease) Store(ctx context.Context, t Sealed) {
	left := time.Until(t.expiry).Milliseconds()
	if left <= 0 {
		l.Release(ctx)
		return
	}
	l.run(ctx, "store", storeScript, l.place.names(), l.owner, t.value, left, maxSealed, l.known.hex())
}

// Forget deletes the value of version v, if it is still there, and gives the lease
// back. What goes wrong is logged and counted here.
func (l *Lease) Forget(ctx context.Context, v Version) {
	l.run(ctx, "forget", forgetScript, l.place.names(), l.owner, maxSealed, v.hex())
}

// Release gives the lease back, if it is still ours. What goes wrong is logged and
// counted here.
func (l *Lease) Release(ctx context.Context) {
	l.run(ctx, "release", releaseScript, []string{l.place.lease}, l.owner)
}

// run runs one of the owner's scripts, and counts a lease that turned out to be lost. It
// reports whether the lease was there.
func (l *Lease) run(ctx context.Context, operation string, script *script, keys []string, args ...any) bool {
	s := l.store
	lost := false
	err := s.do(ctx, operation, func(ctx context.Context) error {
		n, err := as[int64](s.scripts.run(ctx, script, keys, args...))
		lost = err == nil && n == 0
		return err
	})
	switch {
	case err != nil:
	case lost:
		s.metrics.RedisOperation(operation, "lost")
	default:
		s.metrics.RedisOperation(operation, "ok")
	}
	return err == nil && !lost
}
