package cache

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// budget is what the token requests of one upstream may come to in all replicas
// together. Package shared keeps it; here is how long the loads of this replica can wait
// for their turns, and what became of them. Its methods are safe for concurrent use.
type budget struct {
	name    string  // of the upstream
	rate    float64 // token requests per second
	store   *shared.Store
	metrics *metrics.Budget
	log     zerolog.Logger
	waiting atomic.Int32 // loads that have a turn which has not come

	mu         sync.Mutex // guards the rest
	credential upstream.Fingerprint
	bucket     *shared.Budget // of credential; nil: none was asked yet
	putOff     time.Time      // when a request was put off last
	without    bool           // Redis could not be asked last
	stopped    upstream.Class // why the fleet was stopped when Redis told last
	until      time.Time      // when its next token request may be made
}

// newBudget returns the budget of perSecond token requests, nil if that is 0 or there is
// no Redis to keep it.
func newBudget(name string, perSecond float64, store *shared.Store, m *metrics.Upstream, log zerolog.Logger) *budget {
	if perSecond == 0 || store == nil {
		return nil
	}
	return &budget{name: name, rate: perSecond, store: store, metrics: m.Budget(perSecond), log: log}
}

// of returns the bucket of those who use credential.
func (b *budget) of(credential upstream.Fingerprint) *shared.Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bucket == nil || b.credential != credential {
		b.credential, b.bucket = credential, b.store.Budget(credential, b.rate)
	}
	return b.bucket
}

// note takes down what became of a load that asked for a turn. asked is whether a request
// waits for it.
func (b *budget) note(t shared.Turn, asked bool) {
	outcome, now := "now", time.Now()
	switch {
	case t.Without:
		outcome = "without"
	case t.Refused && t.Stopped != "":
		outcome = "stopped"
	case t.Refused && asked:
		outcome = "put_off"
	case t.Refused:
		outcome = "deferred"
	case t.Wait > 0:
		outcome = "later"
	}
	b.metrics.Slot(outcome)
	b.mu.Lock()
	changed := false
	if b.without = t.Without; !t.Without { // else nobody tells whether the fleet is stopped
		changed = b.stopped != t.Stopped
		b.stopped, b.until = t.Stopped, now.Add(t.Wait)
	}
	if outcome == "put_off" {
		b.putOff = now
	}
	b.mu.Unlock()
	switch {
	case changed && t.Stopped != "":
		b.log.Warn().Str("upstream", b.name).Str("class", string(t.Stopped)).
			Msg("replicas met trouble at the token endpoint; all make few token requests until one succeeds")
	case changed:
		b.log.Info().Str("upstream", b.name).Msg("replicas make token requests again")
	}
}

func (b *budget) status() BudgetStatus {
	if b == nil {
		return BudgetStatus{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BudgetStatus{Rate: b.rate, Waiting: int(b.waiting.Load()), PutOff: b.putOff, Without: b.without}
	if b.stopped != "" && time.Until(b.until) > 0 {
		s.Stopped, s.StoppedUntil = b.stopped, b.until
	}
	return s
}

// want returns what a load takes in the step in which it looks for a shared token: the
// lease if it has the turn of this replica, and a turn of the budget with it. A request
// can wait for its own patience, and as long again if it was put off before; so can a
// refresh, once its deadline has passed. Until then its turn must come nearly at once,
// so that hardly any request has to wait behind it.
func (l *sharedLoad) want() shared.Want {
	w := shared.Want{Lease: l.turn}
	if b := l.e.source.budget; b != nil && l.turn {
		w.Budget = b.of(l.f.credential)
		w.Wait, w.Longest, w.Promise = l.e.source.line.horizon(l.f.turn)
	}
	return w
}

// unchecked is how long a load may wait for its turn, and how late it may be, without a
// look at whether the turn is still its own.
const unchecked = 100 * time.Millisecond

// errVoid is what is left of a turn that a stop of the fleet took away, or at whose time
// this process stood still: another may be had.
var errVoid = errors.New("the turn is void")

// await waits for the turn t of the budget. Its error says that there is none: a request is
// told when to come again, and a refresh tries again by itself.
func (l *sharedLoad) await(ctx context.Context, t shared.Turn) error {
	b := l.e.source.budget
	if b == nil {
		return nil
	}
	left, asked := l.e.source.line.left(l.f.turn)
	b.note(t, asked)
	if t.Refused {
		return l.putOff(t, left, asked)
	}
	l.probe = t.Doubted || t.Stopped != ""
	if t.Wait == 0 {
		return nil
	}
	began := time.Now()
	b.waiting.Add(1)
	b.metrics.Waiting.Inc()
	err := sleep(ctx, t.Wait)
	b.waiting.Add(-1)
	b.metrics.Waiting.Dec()
	switch {
	case err != nil:
		return err
	case time.Since(began) > t.Wait+unchecked:
		return errVoid
	case t.Wait <= unchecked:
		return nil
	}
	now, stands := b.store.Stands(ctx, b.of(l.f.credential), t)
	switch {
	case now.Refused:
		b.note(now, asked)
		return l.putOff(now, left, asked)
	case !stands:
		return errVoid
	}
	return nil
}

// maxVoids bounds how often a load asks for another turn because its own was void.
const maxVoids = 2

// anotherTurn begins the load anew, after its turn was void.
func (l *sharedLoad) anotherTurn(ctx context.Context) (loaded, error) {
	if l.voids++; l.voids > maxVoids {
		left, asked := l.e.source.line.left(l.f.turn)
		return loaded{}, l.putOff(shared.Turn{Refused: true, Wait: time.Second}, left, asked)
	}
	return l.run(ctx)
}

// takeAlone takes a turn of the budget without a lease. answered is whether Redis answered
// when it was asked last.
func (l *sharedLoad) takeAlone(ctx context.Context, answered bool) error {
	w := l.want()
	if w.Budget == nil {
		return nil
	}
	t := shared.Turn{Without: true}
	if answered {
		var err error
		if t, err = l.store.Take(ctx, l.place, w); err != nil {
			t = shared.Turn{Without: true}
		}
	}
	return l.await(ctx, t)
}

// putOff returns the error of a load that gets no turn. One that no request waits for
// tries again the later, the more time is left until its token is due, and the more loads
// of this replica do the same.
func (l *sharedLoad) putOff(t shared.Turn, left time.Duration, asked bool) error {
	reason := tooMany(l.e.key.Upstream, t.Wait)
	if t.Stopped != "" {
		reason = &Error{RetryAfter: t.Wait, Cause: &upstream.Error{Upstream: l.e.key.Upstream,
			Class: t.Stopped, Reason: "as another replica was told; few token requests are made until it works again"}}
	}
	if !asked {
		wait := max(t.Wait, left/32, time.Duration(l.e.source.flights.Load())*10*time.Millisecond)
		return &unasked{reason: reason, again: time.Duration((0.5 + rand.Float64()) * float64(wait))}
	}
	return &unasked{reason: reason, promise: time.Now().Add(t.Wait)}
}

// credentialStop is how long the fleet stops for a credential that is refused.
const credentialStop = 10 * time.Second

// tellFleet tells all replicas that a load for e has failed with err, if that says something
// of the token endpoint.
func (c *Cache) tellFleet(e *entry, f *flight, err error) {
	b, failed := e.source.budget, causeOf(err)
	var parent *Error
	if b == nil || failed == nil || decided(failed.Class) || errors.As(err, &parent) {
		return
	}
	class, wait := failed.Class, max(failed.RetryAfter, probePause())
	switch class {
	case upstream.ClassCredential:
		wait = credentialStop
	case upstream.ClassMalformed:
		class = upstream.ClassUnavailable
	}
	b.store.Failed(c.afterwards(), b.of(f.credential), class, wait)
}
