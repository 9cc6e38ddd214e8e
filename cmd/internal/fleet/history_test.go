package fleet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

const (
	historyReplicas = 5
	historyKeys     = 8
	historyLife     = 4 * time.Second
	answerTime      = 200 * time.Millisecond // longest of the token endpoint
	// shareAgain is how long after a fault a replica may still go alone: until
	// its breaker tries Redis again, and a token request that began before then.
	shareAgain = 5 * time.Second
)

// event is one answer that an app got, in the recorded history.
type event struct {
	key        string
	serial     int
	sent, done time.Time
}

// history is a fleet under random faults and all that its replicas answered.
type history struct {
	t      *testing.T
	fleet  *fleet
	server *redisServer
	relays []*relay
	random *rand.Rand
	slots  []atomic.Pointer[replica]
	stop   chan struct{}
	using  sync.WaitGroup

	mu     sync.Mutex           // guards all below
	events map[*replica][]event // by replica, which is another one after a restart
	cutOff [][]window           // by slot: when it was not well connected to Redis
}

// window is a span of time.
type window struct{ from, to time.Time }

func (w window) holds(at time.Time) bool { return !at.Before(w.from) && !at.After(w.to) }

// TestHistoryUnderRandomFaultsIsCorrect has replicas and Redis fail at random and records every answer:
// each is of its own key, no replica serves an older token after a newer one, and no
// two token requests for a key are under way at once but by replicas that are cut off.
//
// Case E11.
func TestHistoryUnderRandomFaultsIsCorrect(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FLEET_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("FLEET_SEED=%d", seed)
	p := newProvider(t, historyLife)
	p.delayAnswers(func() time.Duration { return rand.N(answerTime) })
	server := startRedis(t)
	h := &history{t: t, fleet: newFleet(t, p), server: server, random: rand.New(rand.NewPCG(seed, 0)),
		slots: make([]atomic.Pointer[replica], historyReplicas), stop: make(chan struct{}),
		events: map[*replica][]event{}, cutOff: make([][]window, historyReplicas)}
	for i := range h.slots {
		h.relays = append(h.relays, newRelay(t, server.Addr()))
		h.slots[i].Store(h.start(i))
	}
	for i := range h.slots {
		for range 2 {
			h.using.Go(func() { h.use(i) })
		}
		h.using.Go(func() { h.watch(i) })
	}
	time.Sleep(historyLife)
	for end := time.Now().Add(soak(25*time.Second, 5*time.Minute)); time.Now().Before(end); {
		h.fault()
		time.Sleep(time.Duration(h.random.Float64() * float64(3*time.Second)))
	}
	h.awaitSharing()
	close(h.stop)
	h.using.Wait()
	h.check()
}

// start starts the replica of a slot, which reaches Redis through its relay.
func (h *history) start(slot int) *replica {
	return h.fleet.start("SIDECAR_REDIS_URL=" + h.relays[slot].url())
}

// use asks the replica in the slot for one key or another.
func (h *history) use(slot int) {
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		case <-time.After(rand.N(80 * time.Millisecond)):
		}
		r := h.slots[slot].Load()
		if r == nil {
			continue
		}
		key := fmt.Sprint("key-", rand.N(historyKeys))
		a := r.ask(key)
		if h.slots[slot].Load() != r {
			continue // killed meanwhile
		}
		if err := a.mine(key); err != nil {
			h.t.Errorf("slot %d, %s: %v", slot, a.sent.Format(clock), err)
			continue
		}
		h.mu.Lock()
		h.events[r] = append(h.events[r], event{key, a.serial, a.sent, a.sent.Add(a.took)})
		h.mu.Unlock()
	}
}

const clock = "15:04:05.000"

// fault makes one random fault, from its begin to its end.
func (h *history) fault() {
	slot := h.random.IntN(historyReplicas)
	lasts := time.Duration(h.random.Float64() * float64(2*time.Second))
	began := time.Now()
	var name string
	var hit func(i int) bool // whether the replica in slot i was cut off
	switch n := h.random.IntN(20); {
	case n < 10:
		name, hit = h.networkFault(n, slot, lasts), func(i int) bool { return i == slot }
	case n < 13:
		name, hit = "replica stopped", func(i int) bool { return i == slot }
		r := h.slots[slot].Load()
		r.Freeze()
		time.Sleep(lasts)
		r.Thaw()
	case n < 16:
		name, hit = "replica killed", func(int) bool { return false }
		r := h.slots[slot].Swap(nil)
		r.kill()
		time.Sleep(lasts)
		h.slots[slot].Store(h.start(slot))
	default:
		name, hit = h.serverFault(n, lasts), func(int) bool { return true }
	}
	h.t.Logf("%s for %4d ms: %s, slot %d", began.Format(clock), time.Since(began).Milliseconds(), name, slot)
	for i := range h.cutOff {
		if hit(i) {
			h.note(&h.cutOff[i], began, shareAgain)
		}
	}
}

// networkFault makes one between the replica in the slot and Redis.
func (h *history) networkFault(n, slot int, lasts time.Duration) string {
	relay := h.relays[slot]
	defer relay.pass()
	defer time.Sleep(lasts)
	switch {
	case n < 4:
		late := time.Duration(h.random.Float64() * float64(2*time.Second))
		relay.slow(late)
		return fmt.Sprintf("latency of %s", late.Round(time.Millisecond))
	case n < 7:
		relay.reset()
		return "connections reset"
	default:
		relay.blackhole()
		return "blackhole"
	}
}

// serverFault makes one of Redis.
func (h *history) serverFault(n int, lasts time.Duration) string {
	switch {
	case n < 17:
		h.server.do("flushall")
		return "FLUSHALL"
	case n < 18:
		h.server.Kill()
		time.Sleep(lasts)
		h.server.start()
		return "Redis killed"
	default:
		h.server.Freeze()
		time.Sleep(lasts)
		h.server.Thaw()
		return "Redis stopped"
	}
}

// note adds the window from began until a while after now.
func (h *history) note(list *[]window, began time.Time, while time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*list = append(*list, window{began, time.Now().Add(while)})
}

// watch notes the replica in the slot as cut off whenever it says itself that it
// could not share, which a busy machine may be reason enough for.
func (h *history) watch(slot int) {
	var watched *replica
	var excuses int
	var last time.Time // when they were so many
	for ended := false; !ended; {
		select {
		case <-h.stop:
			ended = true // after one more look
		case <-time.After(400 * time.Millisecond):
		}
		r, now := h.slots[slot].Load(), time.Now()
		if r == nil {
			continue
		}
		text, err := r.read("/metrics")
		if err != nil {
			continue // killed meanwhile
		}
		n := parseSeries(text).excuses()
		if r != watched {
			watched, excuses, last = r, 0, now.Add(-shareAgain)
		}
		if n > excuses {
			h.note(&h.cutOff[slot], last, shareAgain)
		}
		excuses, last = n, now
	}
}

// awaitSharing waits until one token request is enough for all replicas.
func (h *history) awaitSharing() {
	var replicas []*replica
	for i := range h.slots {
		replicas = append(replicas, h.slots[i].Load())
	}
	n := 0
	testkit.Eventually(h.t, "the replicas share after the last fault", func() error {
		n++
		subject := fmt.Sprint("probe-", n)
		burst(replicas, 1, subject)
		if asked := h.fleet.provider.TokenRequestsFor(subject); asked != 1 {
			time.Sleep(50 * time.Millisecond)
			return fmt.Errorf("%d token requests for one key", asked)
		}
		return nil
	})
}
