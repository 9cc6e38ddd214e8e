package testkit

import (
	"sync"
	"testing"
	"time"
)

// Pulse measures how long the machine lets a goroutine lie that should run. Its
// methods are safe for concurrent use.
type Pulse struct {
	mu     sync.Mutex // guards all below
	stalls []stall    // of the last seconds
	worst  time.Duration
}

type stall struct {
	end time.Time
	by  time.Duration
}

const (
	beat      = 5 * time.Millisecond
	leastLost = 2 * time.Millisecond // shorter stalls are how timers are
)

// NewPulse begins to measure, until the test ends.
func NewPulse(t testing.TB) *Pulse {
	p := &Pulse{}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for last := time.Now(); ; {
			select {
			case <-stop:
				return
			case <-time.After(beat):
			}
			now := time.Now()
			p.note(stall{now, now.Sub(last) - beat})
			last = now
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
	})
	return p
}

func (p *Pulse) note(s stall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worst = max(p.worst, s.by)
	for len(p.stalls) > 0 && s.end.Sub(p.stalls[0].end) > 5*time.Second {
		p.stalls = p.stalls[1:]
	}
	if s.by > leastLost {
		p.stalls = append(p.stalls, s)
	}
}

// Lost returns how much of the last d, of a few seconds at most, was lost.
func (p *Pulse) Lost(d time.Duration) (lost time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stalls {
		if time.Since(s.end) < d {
			lost += s.by
		}
	}
	return lost
}

// Worst returns the longest stall so far.
func (p *Pulse) Worst() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.worst
}
