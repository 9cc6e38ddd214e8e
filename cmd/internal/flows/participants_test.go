package flows

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

const (
	participants = 1000
	atOnce       = 64
)

// participantFlow is a thousand participants of whom no token is known yet.
type participantFlow struct {
	*rig
	provider *upstreamtest.Server
	release  func() // lets the provider answer the first request
	begun    atomic.Int32
	answered atomic.Int32
}

// newParticipantFlow starts a sidecar whose service token is not there before
// many participants wait for it.
func newParticipantFlow(t *testing.T) *participantFlow {
	t.Helper()
	f := &participantFlow{provider: testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{Lifetime: time.Hour}))}
	ready := make(chan struct{})
	f.release = sync.OnceFunc(func() { close(ready) })
	t.Cleanup(f.release)
	f.provider.SetTokenFault(func(r *http.Request, n int) *upstreamtest.Answer {
		body, _ := io.ReadAll(r.Body)
		if n == 1 && strings.Contains(string(body), "client_assertion=") {
			<-ready
		}
		return nil
	})
	f.rig = start(t, append(testkit.MyDataHelps(f.provider), "TOKEN_RATE=10000")...)
	return f
}

// run has every participant ask once and checks whose token each got. between
// is called after each answer.
func (f *participantFlow) run(t *testing.T, between func(n int32)) {
	t.Helper()
	work := make(chan string)
	var apps sync.WaitGroup
	for range atOnce {
		apps.Go(func() {
			for id := range work {
				if f.begun.Add(1) == atOnce {
					f.release()
				}
				a, err := f.get("mydatahelps.participant", id)
				if err == nil {
					err = a.mine(id)
				}
				if err == nil && a.echo.Kind != upstreamtest.KindParticipant {
					err = fmt.Errorf("%s got a token of kind %s", id, a.echo.Kind)
				}
				if err != nil {
					t.Error(err)
				}
				between(f.answered.Add(1))
			}
		})
	}
	for i := range participants {
		work <- participant(i)
	}
	close(work)
	apps.Wait()
}

func participant(i int) string { return fmt.Sprintf("participant-%04d", i) }

// Case F13.
func TestColdParticipantsShareOneServiceToken(t *testing.T) {
	f := newParticipantFlow(t)
	f.run(t, func(int32) {})
	if n := f.provider.TokenRequestsFor(""); n != 1 {
		t.Errorf("%d service token requests, want 1", n)
	}
	for i := range participants {
		if n := f.provider.TokenRequestsFor(participant(i)); n != 1 {
			t.Errorf("%d token requests for %s, want 1", n, participant(i))
		}
	}
	if n := f.provider.TokenRequests(); n != participants+1 {
		t.Errorf("%d token requests, want %d", n, participants+1)
	}
}

// The first who are refused get one other service
// token between them; each asks for itself at most once more.
//
// Case F13.
func TestServiceTokenThatDiesMidwayIsReplaced(t *testing.T) {
	f := newParticipantFlow(t)
	f.run(t, func(n int32) {
		if n == participants/2 {
			f.provider.RevokeSubject("")
		}
	})
	if n := f.provider.TokenRequestsFor(""); n != 2 {
		t.Errorf("%d service token requests, want the first and one more", n)
	}
	twice := 0
	for i := range participants {
		n := f.provider.TokenRequestsFor(participant(i))
		if n == 2 {
			twice++
		} else if n != 1 {
			t.Errorf("%d token requests for %s, want 1 or 2", n, participant(i))
		}
	}
	if twice == 0 || twice > atOnce {
		t.Errorf("%d participants were refused once, want those who were on their way", twice)
	}
}
