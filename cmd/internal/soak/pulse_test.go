package soak

import (
	"sync"
	"testing"
	"time"
)

// pulse measures how long the machine lets a goroutine lie that should run.
type pulse struct {
	mu     sync.Mutex // guards stalls
	stalls []stall    // of the last seconds
}

type stall struct {
	end time.Time
	by  time.Duration
}

const (
	beat      = 5 * time.Millisecond
	leastLost = 2 * time.Millisecond // shorter stalls are how timers are
)

func newPulse(t *testing.T) *pulse {
	p := &pulse{}
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

func (p *pulse) note(s stall) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.stalls) > 0 && s.end.Sub(p.stalls[0].end) > 5*time.Second {
		p.stalls = p.stalls[1:]
	}
	if s.by > leastLost {
		p.stalls = append(p.stalls, s)
	}
}

// stalled returns how much of the last d was lost.
func (p *pulse) stalled(d time.Duration) (lost time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stalls {
		if time.Since(s.end) < d {
			lost += s.by
		}
	}
	return lost
}
