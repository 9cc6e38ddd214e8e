package flows

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

const (
	mixedPace  = 800 * time.Millisecond // how often each subject is used
	mixedApps  = 32
	mixedShare = 0.05 // how many token requests may be too many, or too late
)

// use is one subject of one route.
type use struct{ route, subject string }

// ledger notes when each token was asked for.
type ledger struct {
	mu      sync.Mutex // guards arrived
	arrived map[string][]time.Time
}

// watch notes the token requests to s. Those for one token have one key.
func (l *ledger) watch(name string, s *upstreamtest.Server) {
	s.SetTokenFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		body, _ := io.ReadAll(r.Body)
		key := name + " " + r.URL.RawQuery + " "
		if fields, _ := url.ParseQuery(string(body)); fields.Has("client_assertion") || fields.Has("token") {
			key += fields.Get("participant_id")
		} else {
			key += string(body)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.arrived[key] = append(l.arrived[key], time.Now())
		return nil
	})
}

// counts is what the ledger says of a span of time.
type counts struct {
	tokens   int
	requests int
	early    int           // requests that came before a token could need one
	gap      time.Duration // from one request for a token to the next, on average
}

func (l *ledger) between(from, to time.Time, least time.Duration) counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := counts{tokens: len(l.arrived)}
	gaps := time.Duration(0)
	for _, all := range l.arrived {
		for i, at := range all {
			if i == 0 || at.Before(from) || !at.Before(to) {
				continue
			}
			gap := at.Sub(all[i-1])
			gaps += gap
			c.requests++
			if gap < least {
				c.early++
			}
		}
	}
	c.gap = gaps / time.Duration(max(c.requests, 1))
	return c
}

// stalls adds up how much later than due this program is woken, until stopped:
// what it cannot do in time, the sidecar in it cannot either.
func stalls() (stop func() time.Duration) {
	done, lost := make(chan struct{}), make(chan time.Duration)
	go func() {
		const step = 10 * time.Millisecond
		total := time.Duration(0)
		for {
			due := time.Now().Add(step)
			select {
			case <-done:
				lost <- total
				return
			case <-time.After(step):
				if late := time.Since(due); late > 2*step {
					total += late
				}
			}
		}
	}()
	return func() time.Duration { close(done); return <-lost }
}

// mixedRig starts all providers with short tokens before one sidecar. The
// subjects are so many institutions and as many users.
func mixedRig(t *testing.T, l *ledger, subjects int, life time.Duration) (*rig, []use) {
	t.Helper()
	o := upstreamtest.Options{Lifetime: life, HIP: true}
	m, p := closing(t, upstreamtest.NewMyDataHelps(o)), closing(t, upstreamtest.NewPDX(o))
	c, h := closing(t, upstreamtest.NewOCLC(o)), closing(t, upstreamtest.NewHumanAPI(o))
	g := closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: life}))
	for name, s := range map[string]*upstreamtest.Server{"mydatahelps": m, "pdx": p, "oclc": c, "humanapi": h, "shop": g} {
		l.watch(name, s)
	}
	uses := []use{{"mydatahelps", ""}, {"pdx", ""}, {"humanapi.admin", ""}, {"shop", ""}, {"oclc", ""}}
	for i := range subjects {
		uses = append(uses, use{"oclc", strconv.Itoa(1000 + i)})
		user := use{"humanapi", "user-" + strconv.Itoa(i)}
		if i%2 == 0 {
			user.route = "mydatahelps.participant"
		}
		uses = append(uses, user)
	}
	settings := slices.Concat(myDataHelps(m), pdx(p), oclc(c), humanAPI(h), generic(g), []string{"TOKEN_RATE=10000"})
	return start(t, settings...), uses
}

// raced reports whether the race detector slows this program down.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestSoakMixedSubjects has many subjects in use at all providers. A token is
// replaced once in its life and before its end: so none is asked for again
// before most of its life is over, and no request waits for one.
func TestSoakMixedSubjects(t *testing.T) {
	length, subjects, life := 12*time.Second, 200, 2*time.Second
	switch {
	case os.Getenv("SOAK") == "1":
		length = 30 * time.Second
	case raced():
		subjects, life = 50, 4*time.Second
	}
	l := &ledger{arrived: map[string][]time.Time{}}
	r, uses := mixedRig(t, l, subjects, life)
	r.keepUsing(t, uses, 2*mixedPace) // all are cold: they may wait
	from, waited, lost := time.Now(), r.waited(t), stalls()
	answers := r.keepUsing(t, uses, length)
	to, late, stalled := time.Now(), r.waited(t)-waited, lost()
	c := l.between(from, to, life*7/10)
	t.Logf("%d answers in %s, of which %s stalled; %.0f late, %+v", answers, to.Sub(from), stalled, late, c)
	if c.tokens != len(uses) {
		t.Errorf("%d tokens were asked for, want one for each of %d subjects", c.tokens, len(uses))
	}
	if to.Sub(from) > length*5/4 || stalled > length/20 {
		t.Skip("this machine is too busy for tokens as short: the counts mean nothing")
	}
	// A token is replaced when 0.8 of its life is over, which the time that the
	// provider takes comes on top of; at 0.9 it is over for the sidecar.
	if least, most := life*76/100, life*9/10; c.gap < least || c.gap > most {
		t.Errorf("a token was replaced after %s, want %s to %s", c.gap, least, most)
	}
	if limit := mixedShare * float64(c.requests); float64(c.early) > limit || late > limit {
		t.Errorf("%d came early and %.0f late, want %.0f at most", c.early, late, limit)
	}
}

// waited returns how many requests had to wait for a token.
func (r *rig) waited(t *testing.T) float64 {
	return r.total(t, "token_sidecar_token_lookups_total", `result="waited"`)
}

// keepUsing has every subject used, again and again, and returns the number of
// answers. Each must be of its own subject.
func (r *rig) keepUsing(t *testing.T, uses []use, length time.Duration) int {
	var apps sync.WaitGroup
	turns := int(length / mixedPace)
	for i := range mixedApps {
		apps.Go(func() {
			next := time.Now()
			for range turns {
				for j := i; j < len(uses); j += mixedApps {
					r.mustServe(t, uses[j])
				}
				next = next.Add(mixedPace)
				time.Sleep(time.Until(next))
			}
		})
	}
	apps.Wait()
	return turns * len(uses)
}

func (r *rig) mustServe(t *testing.T, u use) {
	a, err := r.get(u.route, u.subject)
	if err == nil {
		err = a.mine(u.subject)
	}
	if err != nil {
		t.Error(err)
	}
}
