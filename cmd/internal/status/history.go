package status

import (
	"context"
	"sync"
	"time"

	"token-sidecar/metrics"
)

const (
	sampleEvery = 10 * time.Second
	samplesKept = int(15*time.Minute/sampleEvery) + 2 // the oldest is never younger than 15 min
)

// history keeps what the counters said in the last quarter of an hour, so that
// the status page can tell what happened lately. Its size is fixed.
type history struct {
	names []string // of the upstreams
	read  func(name string) metrics.Totals

	mu      sync.Mutex // guards all below
	samples []sample   // a ring once it is full
	oldest  int
}

type sample struct {
	at     time.Time
	totals []metrics.Totals // by the index of their name
}

// newHistory returns a history that begins with what read says now.
func newHistory(names []string, read func(string) metrics.Totals) *history {
	h := &history{names: names, read: read}
	h.sample()
	return h
}

// run takes a sample every now and then, until ctx ends.
func (h *history) run(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			h.sample()
		case <-ctx.Done():
			return
		}
	}
}

func (h *history) sample() {
	s := sample{time.Now(), make([]metrics.Totals, len(h.names))}
	for i, name := range h.names {
		s.totals[i] = h.read(name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) < samplesKept {
		h.samples = append(h.samples, s)
		return
	}
	h.samples[h.oldest] = s
	h.oldest = (h.oldest + 1) % samplesKept
}

// recentReport counts the requests to one upstream in the last minutes: in a
// little more than Minutes, or since the start if that was later.
type recentReport struct {
	Minutes  int     `json:"minutes"`
	Seconds  float64 `json:"seconds"`
	Requests uint64  `json:"requests"`
	Waited   uint64  `json:"waited"`
	Failed   uint64  `json:"failed"`
}

// recent returns the counts of one upstream by the length of the time looked at.
func (h *history) recent(name string) []recentReport {
	var all []recentReport
	for _, minutes := range [...]int{1, 5, 15} {
		now, at := h.read(name), time.Now()
		then, since := h.before(name, at.Add(-time.Duration(minutes)*time.Minute))
		all = append(all, recentReport{
			Minutes:  minutes,
			Seconds:  at.Sub(since).Round(time.Millisecond).Seconds(),
			Requests: now.Requests - then.Requests,
			Waited:   now.Waited - then.Waited,
			Failed:   now.Failed - then.Failed,
		})
	}
	return all
}

// before returns the latest sample that is not younger than at, else the oldest.
func (h *history) before(name string, at time.Time) (metrics.Totals, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	best := h.samples[h.oldest]
	for i := range h.samples {
		s := h.samples[(h.oldest+i)%len(h.samples)]
		if s.at.After(at) {
			break
		}
		best = s
	}
	for i, known := range h.names {
		if known == name {
			return best.totals[i], best.at
		}
	}
	return metrics.Totals{}, best.at
}
