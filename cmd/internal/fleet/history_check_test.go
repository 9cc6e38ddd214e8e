package fleet

import (
	"fmt"
	"slices"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// check judges the history.
func (h *history) check() {
	p, count := h.fleet.provider, 0
	asked := p.arrivals()
	for _, events := range h.events {
		count += len(events)
		h.checkOrder(events, asked)
	}
	most := h.checkConcurrency(p.byArrival())
	h.t.Logf("%d answers of %d replicas, %d token requests; at once for a key with 0, 1, … replicas cut off, at most: %v",
		count, len(h.events), p.TokenRequests(), most)
	checkTarget(h.t, p)
}

// arrivals returns when the tokens were asked for, by key and number.
func (p *provider) arrivals() map[string]time.Time {
	asked := map[string]time.Time{}
	for _, token := range p.IssuedTokens() {
		g, _ := p.Issued(token)
		asked[fmt.Sprint(g.Subject, " ", g.Number)] = g.Issued
	}
	return asked
}

// checkOrder finds answers of one replica with an older token than one it had
// served before the request was sent. A replica goes by its own clock, from before
// its token request went out, and may be held up before that arrives. So two tokens
// count as one if they were asked for within a third of a life: in their regular
// course they follow each other after three quarters of one. The exact order is a
// matter of the cache's own tests.
func (h *history) checkOrder(events []event, asked map[string]time.Time) {
	const sameTime = historyLife / 3
	byEnd := slices.Clone(events)
	slices.SortFunc(byEnd, func(a, b event) int { return a.done.Compare(b.done) })
	slices.SortFunc(events, func(a, b event) int { return a.sent.Compare(b.sent) })
	newest := map[string]time.Time{} // of the answers that ended before the one looked at
	for _, e := range events {
		for len(byEnd) > 0 && byEnd[0].done.Before(e.sent) {
			before := byEnd[0]
			byEnd = byEnd[1:]
			if at := asked[fmt.Sprint(before.key, " ", before.serial)]; at.After(newest[before.key]) {
				newest[before.key] = at
			}
		}
		at := asked[fmt.Sprint(e.key, " ", e.serial)]
		if newest[e.key].Sub(at) > sameTime {
			h.t.Errorf("%s: %s: token %d, asked for at %s, after one asked for at %s", e.sent.Format(clock), e.key,
				e.serial, at.Format(clock), newest[e.key].Format(clock))
		}
	}
}

// checkConcurrency compares the token requests under way at once for a key with
// the replicas that were cut off from Redis. It returns the most by the number
// of those.
func (h *history) checkConcurrency(all []upstreamtest.TokenRequest) []int {
	most := make([]int, historyReplicas+1)
	for i, r := range all {
		n := 1
		for _, other := range all[:i] {
			if other.Subject == r.Subject && (other.Done.IsZero() || other.Done.After(r.Time)) {
				n++
			}
		}
		cut := 0
		for _, windows := range h.cutOff {
			if slices.ContainsFunc(windows, func(w window) bool { return w.holds(r.Time) }) {
				cut++
			}
		}
		if n > cut+1 {
			h.t.Errorf("%s: %d token requests at once for %s with %d replicas cut off", r.Time.Format(clock), n, r.Subject, cut)
		}
		most[cut] = max(most[cut], n)
	}
	return most
}
