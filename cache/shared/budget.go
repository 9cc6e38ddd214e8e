package shared

import (
	"context"
	"time"

	"token-sidecar/upstream"
)

// Budget says where in Redis the budget of one credential lies, and how far apart its turns
// are. The budget is how many token requests all replicas may make together; it lies in
// Redis as a bucket of which turns are taken at equal distances (the generic cell rate
// algorithm, without a burst), by the clock of Redis. [Store.Budget] makes a Budget, which
// never changes.
type Budget struct {
	interval time.Duration // between two turns
	buckets  []string      // names in Redis, under the names key of each key of the ring
}

// Want is what a load would take when it looks for a token and finds none: in the same step,
// but in a cluster the turn in a step of its own.
type Want struct {
	Lease  bool          // the lease, if there is no token of use
	Budget *Budget       // and with the lease a turn to make the token request; nil: there is no budget
	Wait   time.Duration // how long the load can wait for that turn
	// Longest is how long it can wait if the time has come that was promised to the key.
	Longest time.Duration
	// Promise asks for the time of another turn, if none comes within Wait.
	Promise bool
}

// Turn is the right to make one token request out of a [Budget], or the lack of it.
type Turn struct {
	// Refused reports that there is none. The load may ask again after Wait, and has
	// the better prospects then if it asked for a promise.
	Refused bool
	Wait    time.Duration // until the turn, or until another question: at most MaxTurnWait
	// Stopped is why replicas have the fleet make but one token request a second, of
	// which this turn may be one: credential, throttled or unavailable. Empty if they
	// do not.
	Stopped upstream.Class
	// Doubted reports that replicas have said that the token endpoint fails: if it does
	// not, Recovered is to be called.
	Doubted bool
	// Epoch is how often the fleet was stopped, modulo 10. A stop takes away all turns
	// that have not come yet.
	Epoch int
	// Without reports that there is no budget: Redis does not tell its time, or fails.
	Without bool
}

const (
	// MaxTurnWait bounds how long a load is told to wait.
	MaxTurnWait = time.Minute
	// maxBooked is how far ahead a bucket may be booked. One that says more was not
	// written by a replica, and counts as none: so what one write can hold up ends. It
	// has room for maxAhead, or a stop of MaxTurnWait, and the longest interval behind it.
	maxBooked = 2 * time.Minute
	// maxInterval bounds the time between two turns: one token request a minute is the
	// smallest budget.
	maxInterval = time.Minute
	// maxAhead bounds how far ahead a load may book a turn.
	maxAhead = 30 * time.Second
	// keptPromise is how long a promise of a turn outlives its time.
	keptPromise = 10 * time.Second
	// probeInterval is the least time between two token requests of a stopped fleet.
	probeInterval = time.Second
	// resumed is how long after a recovery the first failure in a row stops the fleet for no
	// longer than probeInterval: it may be meant for the address of one replica.
	resumed = time.Minute
	// failuresToStop is how many failures in a row stop the fleet, unless they are 429.
	failuresToStop = 3
)

// stopCauses are the classes for which the fleet stops, by their numbers in a bucket. A
// higher one outweighs a lower one.
var stopCauses = [...]upstream.Class{1: upstream.ClassUnavailable, 2: upstream.ClassThrottled, 3: upstream.ClassCredential}

// args returns what take gets from the replica with this number, in microseconds.
func (w Want) args(replica int) []any {
	promise := 0
	if w.Promise {
		promise = 1
	}
	wait, longest := min(w.Wait, maxAhead), min(w.Longest, maxAhead)
	return []any{w.Budget.interval.Microseconds(), wait.Microseconds(), longest.Microseconds(), promise,
		MaxTurnWait.Microseconds(), maxBooked.Microseconds(), probeInterval.Microseconds(), keptPromise.Microseconds(), replica}
}

// Budget returns the budget of perSecond token requests, one a minute at least, among
// those who use credential. It does not ask Redis.
func (s *Store) Budget(credential upstream.Fingerprint, perSecond float64) *Budget {
	b := &Budget{interval: min(time.Duration(float64(time.Second)/perSecond), maxInterval)}
	// All lie on one node of a cluster, with the promises.
	for _, names := range s.sealer.nameKeys {
		b.buckets = append(b.buckets, budgetTag+hashOf(names, append([]byte("budget "), credential[:]...)))
	}
	return b
}

// budgetTag begins the name of each bucket and promise.
const budgetTag = "token-sidecar:{budget}:"

// names returns the names of the promise of a turn for p, and of the buckets.
func (b *Budget) names(p Place) []string {
	return append([]string{budgetTag + p.hash + ":turn"}, b.buckets...)
}

// Take takes a turn out of w.Budget for the token of p, without a lease. If Redis
// fails or is left alone, there is an error and no budget.
func (s *Store) Take(ctx context.Context, p Place, w Want) (Turn, error) {
	var t Turn
	err := s.do(ctx, "budget", func(ctx context.Context) error {
		reply, err := numbers(s.scripts.run(ctx, takeScript, w.Budget.names(p), w.args(s.replica)...))
		if err == nil {
			t, err = w.parseTurn(reply)
		}
		return err
	})
	if err == nil {
		s.metrics.RedisOperation("budget", "ok")
		s.health.recordTime(!t.Without)
	}
	return t, err
}

// parseTurn reads what take returned, and believes no more than it can have said.
func (w Want) parseTurn(reply []int64) (Turn, error) {
	if len(reply) != 3 || reply[2] < 0 || reply[2] >= 8*10 {
		return Turn{}, errReply
	}
	t := Turn{Stopped: stopCauses[reply[2]%4], Doubted: reply[2]/4%2 == 1, Epoch: int(reply[2] / 8)}
	within := func(most time.Duration) time.Duration {
		return time.Duration(min(max(reply[1], 0), most.Microseconds())) * time.Microsecond
	}
	switch reply[0] {
	case -1:
		return Turn{Without: true}, nil
	case 0:
		t.Refused, t.Wait = true, max(within(MaxTurnWait), time.Millisecond)
	case 1:
		t.Wait = within(max(w.Wait, w.Longest))
	default:
		return Turn{}, errReply
	}
	return t, nil
}

// Failed tells of a token request that failed as cause says. If it is the third in a row, or
// cause is ClassThrottled, all replicas make no token request out of b for so long, at most
// MaxTurnWait, and then one a second until one of them calls Recovered. What goes wrong is
// logged and counted here.
func (s *Store) Failed(ctx context.Context, b *Budget, cause upstream.Class, wait time.Duration) {
	for number, known := range stopCauses {
		if known == cause && number > 0 {
			s.reportToBudget(ctx, b, failureScript, min(wait, MaxTurnWait).Microseconds(), number, maxBooked.Microseconds(),
				failuresToStop, probeInterval.Microseconds(), s.replica)
		}
	}
}

// Recovered tells that the token endpoint works, after Failed has told otherwise. What goes wrong is logged and
// counted here.
func (s *Store) Recovered(ctx context.Context, b *Budget) {
	s.reportToBudget(ctx, b, recoveryScript, resumed.Microseconds(), maxBooked.Microseconds())
}

func (s *Store) reportToBudget(ctx context.Context, b *Budget, script *script, args ...any) {
	err := s.do(ctx, "budget", func(ctx context.Context) error {
		return s.scripts.run(ctx, script, b.buckets, args...).Err
	})
	if err == nil {
		s.metrics.RedisOperation("budget", "ok")
	}
}

// Stands reports whether the turn t, for which the caller has waited, may be used: the
// fleet was not stopped since. If it is stopped now, Stands returns the refusal as well. If
// Redis fails, the turn stands.
func (s *Store) Stands(ctx context.Context, b *Budget, t Turn) (refusal Turn, stands bool) {
	stands = true
	err := s.do(ctx, "budget", func(ctx context.Context) error {
		reply, err := numbers(s.scripts.run(ctx, standsScript, b.buckets, maxBooked.Microseconds()))
		if err != nil {
			return err
		}
		if len(reply) != 3 {
			return errReply
		}
		stands = reply[2] < 0 || int(reply[2]) == t.Epoch && reply[0] == 0
		if !stands && reply[0] > 0 {
			refusal, err = Want{}.parseTurn([]int64{0, reply[1], reply[0]})
		}
		return err
	})
	if err != nil {
		return Turn{}, true
	}
	s.metrics.RedisOperation("budget", "ok")
	return refusal, stands
}
