package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// budget is the part of this replica in the budget of one upstream, which all replicas
// share: where Redis keeps the turns, by way of package shared, and what became of the
// loads of this replica that asked for one. Its methods are safe for concurrent use.
type budget struct {
	name    string  // of the upstream
	rate    float64 // token requests per second
	store   *shared.Store
	metrics *metrics.Budget
	log     zerolog.Logger
	telling rate.Sometimes // limits the lines about requests that are put off
	waiting atomic.Int32   // loads that have a turn which has not come

	mu         sync.Mutex // guards the rest
	credential upstream.Fingerprint
	bucket     *shared.Budget // of credential; nil: none was asked yet
	putOff     time.Time      // when a request was put off last
	without    bool           // Redis could not be asked last
	stopped    upstream.Class // why the fleet was stopped when Redis told last
	until      time.Time      // when its next token request may be made
}

// BudgetStatus is about the token requests that all replicas may make together. The
// zero BudgetStatus is no budget.
type BudgetStatus struct {
	Rate    float64 // token requests per second
	Waiting int     // loads of this replica that wait for their turn within it
	// PutOff is when a request was told last, while the fleet was not stopped, that no turn
	// comes in the time that it can wait.
	PutOff time.Time
	// Without reports that Redis could not be asked last, so that TOKEN_RATE alone
	// holds for each replica.
	Without bool
	// Stopped is why the fleet is stopped, as a replica found; empty if it goes on. It makes
	// no token request until StoppedUntil, and then one a second until one succeeds.
	Stopped      upstream.Class
	StoppedUntil time.Time
}

// newBudget returns the budget of perSecond token requests, nil if that is 0 or there is
// no Redis to keep it.
func newBudget(name string, perSecond float64, store *shared.Store, m *metrics.Upstream, log zerolog.Logger) *budget {
	if perSecond == 0 || store == nil {
		return nil
	}
	return &budget{name: name, rate: perSecond, store: store, metrics: m.Budget(perSecond), log: log, telling: rate.Sometimes{Interval: time.Minute}}
}

// bucketOf returns the bucket of turns of those who use credential.
func (b *budget) bucketOf(credential upstream.Fingerprint) *shared.Budget {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bucket == nil || b.credential != credential {
		b.credential, b.bucket = credential, b.store.Budget(credential, b.rate)
	}
	return b.bucket
}

// record counts what became of a load that asked for a turn, keeps it for the status, and
// logs when the fleet is stopped or goes on. asked is whether a request waits for the
// load.
func (b *budget) record(t shared.Turn, asked bool) {
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
	if outcome == "put_off" {
		b.telling.Do(func() {
			b.log.Warn().Str("upstream", b.name).Float64("budget_per_second", b.rate).
				Msg("the budget of token requests is spent; requests without a token are told when to come again")
		})
	}
	switch {
	case changed && t.Stopped != "":
		b.log.Warn().Str("upstream", b.name).Str("class", string(t.Stopped)).
			Msg("replicas met trouble at the token endpoint; all make few token requests until one succeeds")
	case changed:
		b.log.Info().Str("upstream", b.name).Msg("replicas make token requests again")
	}
}

// status returns what is known of b, which may be nil.
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
