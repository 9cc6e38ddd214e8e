package shared

import (
	"context"
	"errors"
	"time"
)

// Looked is what came of a look at a place.
type Looked struct {
	Found Found
	Lease *Lease // ours from now on; nil if it was not asked for, if another holds it, or without a turn
	// Turn goes with the lease. If it is refused the lease is free, and is not ours.
	Turn Turn
	// Busy reports that another replica holds the lease. It is false for a lease
	// that none can have taken: one without end or proof, or one that is older than
	// a token request may take.
	Busy bool
	// Begins is how long that replica still waits for its turn.
	Begins time.Duration
	// Holder tells one holder of a lease that is not ours from the next. It does not
	// say who that is.
	Holder string
}

// look returns a script that returns the value, unless it is the one that the caller
// knows. Only if there is none or that one does it take the lease, if the caller wants
// it and nobody holds it, and a turn with it. It returns the value with its time to live
// (without a value: whether something stands there that is none, which a new value
// replaces), the time of Redis, 1 if the lease was taken and 2 if there was no turn, how
// long the lease stands that is there, its owner, and how long until the turn and why the
// fleet is stopped. The same owner may take the lease twice, because the client of a
// cluster sends the script again if the connection ends before the answer. A lease stands
// for longer if its turn comes later.
func look(functions, turn string) *script {
	return newScript(functions + `
local value, wrong = redis.pcall('GETRANGE', KEYS[1], 0, ARGV[3]), 0
if type(value) ~= 'string' then value, wrong = '', 1 end
local t, now = redis.pcall('TIME'), 0
if t[1] then now = t[1] * 1000000 + t[2] end
if value ~= '' and redis.sha1hex(value) ~= ARGV[4] then
  return {value, redis.call('PTTL', KEYS[1]), now, 0, 0, '', 0, 0}
end
local holder = redis.pcall('GETRANGE', KEYS[2], 0, 64)
if type(holder) ~= 'string' then holder = 'x' end
if ARGV[2] == '0' or holder ~= '' and holder ~= ARGV[1] then
  return {'', wrong, now, 0, redis.call('PTTL', KEYS[2]), holder, 0, 0}
end
local got, wait, cause = ` + turn + `
if got == 0 then return {'', wrong, now, 2, 0, '', wait, cause} end
redis.call('SET', KEYS[2], ARGV[1], 'PX', string.format('%.0f', ARGV[2] + wait / 1000))
return {'', wrong, now, got, 0, '', wait, cause}`)
}

var (
	lookScript = look("", "1, 0, 0")
	// lookTurnScript takes a turn with the lease. Its keys and arguments end with those
	// of takeScript.
	lookTurnScript = look(bucketFunctions, "take(4, 4, now)")
)

// Look reads the value at p, if it is not the one known. If there is no other it takes
// what w says in the same step, unless another holds the lease. With an error, the Lease
// is nil if Redis refused or was not asked. Else its answer is missing and the lease may
// have been taken: the caller should go on as if it held the Lease, lest the others wait
// for a holder that does not know that it is one.
func (s *Store) Look(ctx context.Context, p Place, known Version, w Want) (Looked, error) {
	l := &Lease{store: s, place: p, known: known}
	hold := time.Duration(0)
	if w.Lease {
		l.owner, hold = s.newOwner(p), LeaseTime
	}
	script, keys, args := lookScript, p.names(), []any{l.owner, hold.Milliseconds(), maxSealed, known.hex()}
	together := w.Lease && w.Budget != nil && !s.cluster
	if together {
		script, keys, args = lookTurnScript, append(keys, w.Budget.names(p)...), append(args, w.args(s.replica)...)
	}
	began := time.Now()
	var r lookReply
	err := s.do(ctx, "acquire", func(ctx context.Context) error {
		reply, err := as[[]any](s.scripts.run(ctx, script, keys, args...))
		if err == nil {
			r, err = w.parseLook(reply)
		}
		return err
	})
	var answer ReplyError
	switch {
	case err == nil:
	case !w.Lease, errors.Is(err, errSkipped), errors.Is(err, ErrNoScripts), errors.As(err, &answer):
		return Looked{}, err
	default:
		return Looked{Lease: l}, err
	}
	now := s.clock.learn(r.now, began)
	if r.value != "" {
		return Looked{Found: s.read("acquire", p, r.value, r.ttl, now, time.Since(began))}, nil
	}
	if r.ttl == 0 {
		s.metrics.RedisOperation("acquire", "miss")
	} else {
		s.metrics.RedisOperation("acquire", "invalid")
	}
	return s.lookedForLease(ctx, l, w, r, together), nil
}

// lookedForLease returns what came of a look that found no value, in which l and what w
// says were to be taken. together is whether the turn was taken in the same step.
func (s *Store) lookedForLease(ctx context.Context, l *Lease, w Want, r lookReply, together bool) (out Looked) {
	switch {
	case r.taken:
		s.health.wrote()
		out.Lease, out.Turn = l, r.turn
		if together {
			s.health.recordTime(!r.turn.Without)
		}
		s.metrics.RedisOperation("lease", "ok")
		if w.Budget != nil && !together {
			out.takeSeparately(ctx, w)
		}
	case r.turn.Refused:
		out.Turn = r.turn
	case r.holder != "":
		out.Holder = r.holder
		// A lease in its last millisecond has none left, and one without an end less.
		out.Busy = r.left >= 0 && r.left <= LeaseTime+s.turnWait && l.place.believable(r.holder, r.now, s.longest+s.turnWait)
		out.Begins = max(r.left-LeaseTime, 0)
		s.metrics.RedisOperation("lease", "busy")
	}
	return out
}

// takeSeparately takes the turn for a lease in a cluster, where the two may lie on different
// nodes. The lease comes first, so that no turn is taken by a load that then finds the
// lease taken. One that cannot be made to stand until the turn has come is given up, and
// the turn with it: others would take the lease meanwhile.
func (out *Looked) takeSeparately(ctx context.Context, w Want) {
	l := out.Lease
	turn, err := l.store.Take(ctx, l.place, w)
	switch {
	case err != nil:
		turn = Turn{Without: true}
	case turn.Refused:
		l.Release(ctx)
		out.Lease = nil
	case turn.Wait > 0 && !l.stand(ctx, LeaseTime+turn.Wait):
		turn.Refused, out.Lease = true, nil
	}
	out.Turn = turn
}

// lookReply is the reply of the script that look makes.
type lookReply struct {
	value  string        // of the place; empty if there is none, or only the known one
	ttl    time.Duration // of the value; without a value not 0 if something else stands there
	now    time.Time     // by the clock of Redis; zero if Redis does not tell
	taken  bool          // the lease is ours
	left   time.Duration // of another's lease
	holder string        // of another's lease
	turn   Turn
}

// parseLook reads the reply of look, and believes no more than it can have said.
func (w Want) parseLook(reply []any) (r lookReply, err error) {
	if len(reply) != 8 {
		return r, errReply
	}
	var numbers [8]int64
	for i, part := range reply {
		ok := false
		switch i {
		case 0:
			r.value, ok = part.(string)
		case 5:
			r.holder, ok = part.(string)
		default:
			numbers[i], ok = part.(int64)
		}
		if !ok {
			return lookReply{}, errReply
		}
	}
	r.ttl, r.left = time.Duration(numbers[1])*time.Millisecond, time.Duration(numbers[4])*time.Millisecond
	if numbers[2] > 0 {
		r.now = time.UnixMicro(numbers[2])
	}
	switch numbers[3] {
	case 0:
	case 1, 2:
		r.taken = numbers[3] == 1
		r.turn, err = w.parseTurn([]int64{numbers[3] % 2, numbers[6], numbers[7]})
	case -1:
		r.taken, r.turn = true, Turn{Without: true}
	default:
		err = errReply
	}
	return r, err
}
