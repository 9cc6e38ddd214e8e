package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// budgetShown is what the status page tells of a budget in JSON.
type budgetShown struct {
	PerSecond    float64 `json:"per_second"`
	WithoutRedis bool    `json:"without_redis"`
}

// budgetOnPage returns what the status page tells of the budget of humanapi.
func (r *replica) budgetOnPage(t *testing.T) budgetShown {
	t.Helper()
	text, err := r.read("/", "Accept", "application/json")
	var page struct {
		Upstreams []struct{ Budget *budgetShown }
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &page)
	}
	if err != nil || len(page.Upstreams) != 1 || page.Upstreams[0].Budget == nil {
		t.Fatalf("%v; no budget in %s", err, text)
	}
	return *page.Upstreams[0].Budget
}

// TestReplicasKeepToOneBudget asks two replicas for different subjects at once: their
// token requests come one after the other, at the budget's distance.
func TestReplicasKeepToOneBudget(t *testing.T) {
	t.Parallel()
	const perSecond, subjects = 4, 8
	p := newProvider(t, time.Hour)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL(), fmt.Sprintf("SIDECAR_HUMANAPI_TOKEN_BUDGET=%d/m", 60*perSecond))
	replicas := f.replicas(2)
	for _, r := range replicas {
		testkit.Eventually(t, "the replica shares", func() error {
			if shown := r.redisOnPage(t); shown.State != "sharing" {
				return fmt.Errorf("the page says %+v", shown)
			}
			return nil
		})
	}
	answers := make(chan error, subjects)
	for i := range subjects {
		go func() {
			subject := fmt.Sprint("subject-", i)
			answers <- replicas[i%2].ask(subject).mine(subject)
		}()
	}
	for range subjects {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	asked := p.byArrival()
	if len(asked) != subjects {
		t.Fatalf("%d token requests for %d tokens", len(asked), subjects)
	}
	// A slow machine may send the first late; the others stay where they are.
	if took, least := asked[subjects-1].Time.Sub(asked[0].Time), (subjects-4)*time.Second/perSecond; took < least {
		t.Errorf("%d token requests within %v, want %v at least", subjects, took, least)
	}
	later := 0.0
	for _, r := range replicas {
		later += r.scrape(t).sum("token_budget_slots_total", `outcome="later"`)
		if shown := r.budgetOnPage(t); shown != (budgetShown{perSecond, false}) {
			t.Errorf("the page says %+v", shown)
		}
	}
	if later < subjects/2 {
		t.Errorf("only %v of %d turns came later", later, subjects)
	}
}

// TestTwentyProcessesKeepToOneBudget starts twenty replicas at once, each of which needs
// tokens of its own for a minute. Callers come again when they are told.
func TestTwentyProcessesKeepToOneBudget(t *testing.T) {
	t.Parallel()
	const processes, each, perSecond, lasts = 20, 27, 9, time.Minute
	p := newProvider(t, time.Hour)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL(), fmt.Sprintf("SIDECAR_HUMANAPI_TOKEN_BUDGET=%d/s", perSecond))
	began := time.Now()
	var all sync.WaitGroup
	fleet := f.replicas(processes)
	for n, r := range fleet {
		for k := range each {
			all.Go(func() {
				subject := fmt.Sprint(n, "-", k)
				for refused := 0; ; refused++ {
					a := r.ask(subject)
					if a.mine(subject) == nil {
						return
					}
					if a.err != nil || a.status != 503 || a.retry <= 0 || refused > 3 {
						t.Errorf("%v after %d refusals; Retry-After %s", a.mine(subject), refused, a.retry)
						return
					}
					time.Sleep(a.retry)
				}
			})
		}
	}
	all.Wait()
	took, asked := time.Since(began), p.byArrival()
	// Where Redis answers later than a load waits, as on a machine that stands still for a
	// moment, there is no budget for that load.
	without := 0
	for _, r := range fleet {
		without += int(r.scrape(t).sum("token_budget_slots_total", `outcome="without"`))
	}
	t.Logf("%d tokens after %s, %d of them without a budget", len(asked), took, without)
	if len(asked) != processes*each {
		t.Errorf("%d token requests for %d tokens", len(asked), processes*each)
	}
	if least := time.Duration(processes*each-2-without) * time.Second / perSecond; took < least || took > 2*lasts {
		t.Errorf("%d token requests within %s, want %s at least", len(asked), took, least)
	}
	// A busy machine may hold up some for a second, and send them with those that follow.
	for i, n := 0, 5*perSecond+perSecond+2+without; i+n < len(asked); i++ {
		if span := asked[i+n].Time.Sub(asked[i].Time); span < 5*time.Second {
			t.Errorf("%d token requests within %s", n+1, span)
		}
	}
}

// TestAPausedProcessMakesUpForNothing stops a replica while turns come for it that it has
// booked, and lets it go on: it does not make its token requests all at once.
func TestAPausedProcessMakesUpForNothing(t *testing.T) {
	t.Parallel()
	const perSecond, subjects = 5, 12
	p := newProvider(t, time.Hour)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL(), fmt.Sprintf("SIDECAR_HUMANAPI_TOKEN_BUDGET=%d/s", perSecond))
	r := f.replicas(1)[0]
	answers := make(chan error, subjects)
	for i := range subjects {
		go func() {
			subject := fmt.Sprint("subject-", i)
			answers <- r.ask(subject).mine(subject)
		}()
	}
	testkit.Eventually(t, "the first token requests", func() error {
		if n := len(p.byArrival()); n < 2 {
			return fmt.Errorf("%d token requests", n)
		}
		return nil
	})
	for range 2 {
		if err := r.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(700 * time.Millisecond) // not waited for: the pause itself
		if err := r.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(300 * time.Millisecond)
	}
	for range subjects {
		if err := <-answers; err != nil {
			t.Log(err) // some may be put off
		}
	}
	asked := p.byArrival()
	// Three turns and more come in a pause. A busy machine may hold one request up until the next.
	for i := range asked[2:] {
		if gap := asked[i+2].Time.Sub(asked[i].Time); gap < 20*time.Millisecond {
			t.Errorf("token requests %d to %d come within %s", i, i+2, gap)
		}
	}
}

// TestTheRightForABudgetIsTold has a user who may not ask Redis for its time: check is
// content with that unless there is a budget, and then says what it means; requests are
// served in either case.
func TestTheRightForABudgetIsTold(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.setUser(withoutRight("time")...)
	p := newProvider(t, time.Minute)
	without := newFleet(t, p, "SIDECAR_REDIS_URL="+s.userURL())
	if code, redis, text := without.check("--json"); code != 0 || redis == nil || redis.Outcome != "ok" {
		t.Errorf("without a budget: exit code %d, %s", code, text)
	}
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+s.userURL(), "SIDECAR_HUMANAPI_TOKEN_BUDGET=9/s")
	code, redis, text := f.check("--json")
	if code != 1 || redis == nil || strings.Join(redis.Missing, " ") != "time" || !strings.Contains(redis.Mend, "+time") ||
		!strings.Contains(redis.Cause, "TOKEN_BUDGET") {
		t.Errorf("with a budget: exit code %d, %s", code, text)
	}
	if code, _, text := f.check(); code != 1 || !strings.Contains(strings.Join(strings.Fields(text), " "), "lacks rights: TIME. Without TIME") {
		t.Errorf("with a budget, for people: exit code %d, %s", code, text)
	}
	r := f.start()
	testkit.Eventually(t, "the page names the right", func() error {
		if shown := r.redisOnPage(t); strings.Join(shown.Missing, " ") != "time" || shown.Severity != "warning" {
			return fmt.Errorf("it says %+v", shown)
		}
		return nil
	})
	if err := r.ask("someone").mine("someone"); err != nil {
		t.Error(err)
	}
	if shown := r.budgetOnPage(t); shown != (budgetShown{9, true}) {
		t.Errorf("the page says %+v of the budget", shown)
	}
}
