package flows

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

const (
	mixedPace = 800 * time.Millisecond // how often each subject is used
	mixedApps = 16
)

// use is one subject of one route.
type use struct{ route, subject string }

// ledger notes how often each token was asked for.
type ledger struct {
	mu      sync.Mutex // guards arrived
	arrived map[string]int
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
		l.arrived[key]++
		return nil
	})
}

// counts is what the ledger says.
type counts struct {
	tokens   int // that were asked for
	requests int // for all of them
	most     int // for one of them
}

func (l *ledger) count() counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := counts{tokens: len(l.arrived)}
	for _, n := range l.arrived {
		c.requests += n
		c.most = max(c.most, n)
	}
	return c
}

// mixedRig starts all providers with short tokens before one sidecar. The
// subjects are so many institutions and as many users.
func mixedRig(t *testing.T, l *ledger, subjects int, life time.Duration) (*rig, []use) {
	t.Helper()
	o := upstreamtest.Options{Lifetime: life, HIP: true}
	m, p := testkit.Closing(t, upstreamtest.NewMyDataHelps(o)), testkit.Closing(t, upstreamtest.NewPDX(o))
	c, h := testkit.Closing(t, upstreamtest.NewOCLC(o)), testkit.Closing(t, upstreamtest.NewHumanAPI(o))
	g := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: life}))
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
	settings := slices.Concat(testkit.MyDataHelps(m), testkit.PDX(p), testkit.OCLC(c), humanAPI(h), shop(g), []string{"TOKEN_RATE=10000"})
	return start(t, settings...), uses
}

// TestSoakMixedSubjects has many subjects in use at all providers. Each gets answers
// of its own, and its token is replaced once in a life: not before three quarters of
// the life before are over. How many requests had to wait is told, and judged in the
// long run alone.
func TestSoakMixedSubjects(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the lives of many tokens")
	}
	length, subjects, life := 8*time.Second, 50, 4*time.Second
	if os.Getenv("SOAK") == "1" {
		length, subjects = 30*time.Second, 200
	}
	l := &ledger{arrived: map[string]int{}}
	began := time.Now()
	r, uses := mixedRig(t, l, subjects, life)
	r.keepUsing(t, uses, 2*mixedPace) // all are cold: they may wait
	waited := r.waited(t)
	answers := r.keepUsing(t, uses, length)
	waited = r.waited(t) - waited
	c := l.count()
	t.Logf("%d answers, %.0f waited for a token, %+v", answers, waited, c)
	if c.tokens != len(uses) {
		t.Errorf("%d tokens were asked for, want one for each of %d subjects", c.tokens, len(uses))
	}
	// However slow the machine: each replacement begins that long after the one before,
	// unless a token expired on its way to the target, who refused it.
	refused := int(r.total(t, "token_sidecar_rejections_total", `action="replaced"`))
	if most := 1 + int(time.Since(began)/(life*76/100)) + refused; c.most > most || c.requests <= c.tokens {
		t.Errorf("%+v, want 2 to %d token requests for each token", c, most)
	}
	if os.Getenv("SOAK") == "1" && waited > float64(answers)/100 {
		t.Errorf("%.0f of %d requests waited for a token that should have been replaced ahead", waited, answers)
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
