package soak

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// fault is what a server does in place of its work. The nil fault is none.
type fault struct {
	mode  string
	share float64 // of the requests that it strikes
}

func (f *fault) strikes() bool { return f != nil && rand.Float64() < f.share }

// slowness is how much later a slow target answers.
const slowness = 300 * time.Millisecond

// failTarget answers in place of the target, unless it is only slow.
func (f *fault) failTarget(w http.ResponseWriter, r *http.Request) (answered bool) {
	switch f.mode {
	case "reset":
		upstreamtest.Reset(w)
	case "401":
		http.Error(w, canaryAnswer, http.StatusUnauthorized)
	case "500":
		http.Error(w, canaryAnswer, http.StatusInternalServerError)
	case "slow":
		pause(r, slowness)
		return false
	}
	return true
}

// tokenAnswer is what the token endpoint says in place of the token of whose. A token
// in it was not issued and must not be used.
func (f *fault) tokenAnswer(whose string) *upstreamtest.Answer {
	quote, token := fmt.Sprintf("%s: %s of %s", canaryForeign, clientSecret, whose), "bad-"+newToken()
	a := &upstreamtest.Answer{Header: http.Header{"Content-Type": {"application/json"}}}
	switch f.mode {
	case "500":
		a.Status = http.StatusInternalServerError
		a.Body = fmt.Sprintf(`{"error":%q,"error_description":%q}`, canaryForeign, quote)
	case "hang":
		a.Hang = true
	case "wrong type":
		a.Body = fmt.Sprintf(`{"access_token":%q,"token_type":"mac","expires_in":1}`, token)
	case "garbage":
		good := fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":1}`, token)
		garbage := []string{"<html>" + quote, good[:len(good)/2], good + good, `["` + quote + `"]`, "",
			fmt.Sprintf(`{"access_token":"%s\r\nX: y","token_type":"Bearer","expires_in":1}`, token),
			fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":"%s"}`, token, canaryForeign)}
		a.Body = garbage[rand.IntN(len(garbage))]
	}
	return a
}

func pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// trouble is one place where faults happen.
type trouble struct {
	name  string
	modes []string
	// begin and end a fault that strikes a share of the requests.
	begin func(mode string, share float64)
	end   func(mode string)
	rest  time.Duration // between two faults, on average
}

func troubles(p *provider, redis *redisServer) []trouble {
	return []trouble{
		{"target", []string{"reset", "401", "500", "slow"},
			func(mode string, share float64) { p.targetFault.Store(&fault{mode, share}) },
			func(string) { p.targetFault.Store(nil) }, 700 * time.Millisecond},
		{"token endpoint", []string{"500", "hang", "garbage", "wrong type"},
			func(mode string, share float64) { p.tokenFault.Store(&fault{mode, share}) },
			func(string) { p.tokenFault.Store(nil) }, 3 * time.Second},
		{"redis", []string{"stopped", "killed", "flushed"},
			func(mode string, _ float64) { redis.hurt(mode) }, redis.heal, time.Second},
	}
}

// tour has each fault once, with full force, so that what comes later can be
// no worse.
func tour(all []trouble) {
	for _, place := range all {
		for _, mode := range place.modes {
			place.begin(mode, 1)
			time.Sleep(500 * time.Millisecond)
			place.end(mode)
			time.Sleep(400 * time.Millisecond)
		}
	}
}

// chaos has faults at all places at random, each at its own times, until stop
// is closed. It returns when all are over.
func chaos(t *testing.T, all []trouble, seed uint64, stop <-chan struct{}) {
	var places sync.WaitGroup
	for i, place := range all {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		places.Go(func() {
			n := 0
			for sleep(stop, time.Duration(random.Int64N(int64(2*place.rest)))) {
				mode := place.modes[random.IntN(len(place.modes))]
				place.begin(mode, []float64{0.02, 0.1, 1}[random.IntN(3)])
				sleep(stop, 100*time.Millisecond+time.Duration(random.Int64N(int64(time.Second))))
				place.end(mode)
				n++
			}
			t.Logf("%d faults at %s", n, place.name)
		})
	}
	places.Wait()
}

func sleep(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}
