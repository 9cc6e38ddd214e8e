package flows

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// userToken returns the token by which the app knows a user. The canary in it is found wherever
// the token gets to.
func userToken(user string) string { return testkit.Canary + "-" + user }

// users are the users of an app, who may be locked out.
type users struct{ locked sync.Map }

// of returns whose token it is, and whether another one is issued for it.
func (u *users) of(token string) (string, bool) {
	user, known := strings.CutPrefix(token, testkit.Canary+"-")
	_, locked := u.locked.Load(user)
	return user, known && !locked
}

// exchanging starts a provider that exchanges the tokens of u, and returns it and the settings
// for it. A target that is sent a user's own token fails the test.
func exchanging(t *testing.T, u *users, life time.Duration, more ...string) (*upstreamtest.Server, []string) {
	p := testkit.Closing(t, upstreamtest.NewEndpoint(upstreamtest.EndpointRules{SubjectToken: u.of, Lifetime: life}))
	p.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		var head bytes.Buffer
		_ = r.Header.Write(&head)
		if strings.Contains(head.String(), testkit.Canary) {
			t.Errorf("the target got the token of a user: %s", head.String())
		}
		return nil
	})
	return p, append(testkit.OAuth2(p, "OAUTH2_0_GRANT=token_exchange"), more...)
}

// as sends a request with the token of user, which may be anything.
func (r *rig) as(ctx context.Context, method, token string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.sidecar.Addr("data").String()+"/books/v1/x", nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	return r.do(req)
}

// leaks returns what is found of canaries on the admin listener, in the log and in Redis.
func leaks(t *testing.T, r *rig, redis *testkit.Redis) (found []string) {
	t.Helper()
	for _, page := range [][2]string{{"/", "text/html"}, {"/", "application/json"}, {"/metrics", "*/*"}} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.sidecar.Addr("admin").String()+page[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", page[1])
		res, err := r.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || !bytes.Contains(text, []byte("books")) {
			t.Fatalf("%q: status %d, %v, or nothing of the upstream", page, res.StatusCode, err)
		}
		if bytes.Contains(text, []byte(testkit.Canary)) {
			found = append(found, strings.Join(page[:], " as "))
		}
	}
	if !strings.Contains(r.log.String(), `"message":"request"`) {
		t.Fatal("there is no log")
	}
	if strings.Contains(r.log.String(), testkit.Canary) {
		found = append(found, "the log")
	}
	keys, err := redis.Client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatalf("no keys in Redis: %v", err)
	}
	for _, key := range keys {
		value, _ := redis.Client.Dump(t.Context(), key).Result()
		if strings.Contains(key+value, testkit.Canary) {
			found = append(found, "Redis")
		}
	}
	return found
}

// Over 20,000 requests of 50 users to two replicas that share Redis, whose tokens expire,
// are refused by the target and whose requests are broken off, nobody gets the token of
// another. A user who is locked out stops nobody else. The users' own tokens are found
// nowhere: not at the target, in Redis, in the log, in the metrics, on the status page.
//
// Case EXC1.
func TestExchangedTokensOfUsersNeverMix(t *testing.T) {
	redis := testkit.NewRedis(t)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	var u users
	sum := sha256.Sum256([]byte("a key of tests"))
	p, settings := exchanging(t, &u, 2*time.Second, "TOKEN_RATE=1000", "REDIS_URL="+redis.URL(),
		"REDIS_KEYS=a:"+base64.StdEncoding.EncodeToString(sum[:]))
	replicas := []*rig{start(t, settings...), start(t, settings...)}
	var served, refused, brokenOff, next atomic.Int64
	var apps sync.WaitGroup
	began := time.Now()
	for range 16 {
		apps.Go(func() {
			for n := next.Add(1); n <= 20_000; n = next.Add(1) {
				user := fmt.Sprintf("user%d", rand.N(50))
				ctx, cancel := context.WithCancel(t.Context())
				if n%50 == 0 {
					time.AfterFunc(rand.N(3*time.Millisecond), cancel)
				}
				if n%400 == 0 {
					p.RevokeSubject(user)
				}
				a, err := replicas[n%2].as(ctx, http.MethodGet, userToken(user))
				cancel()
				switch {
				case errors.Is(err, context.Canceled):
					brokenOff.Add(1)
				case err != nil:
					t.Error(err)
				case a.status == http.StatusUnauthorized && a.code == "":
					refused.Add(1) // its token was refused twice within a second: that is the target's answer
				default:
					if err := a.mine(user); err != nil {
						t.Error(err)
					}
					served.Add(1)
				}
			}
		})
	}
	apps.Wait()
	// A user's token is replaced at once when it is refused, and the next ones after a second, two, and so
	// on. As 50 refusals meet 50 users at random, each user is without for half a second on the average.
	took := time.Since(began).Seconds()
	most := int64(20_000*0.5/max(took, 1)) + 20_000/50
	if served.Load()+refused.Load()+brokenOff.Load() != 20_000 || refused.Load() > most || brokenOff.Load() == 0 {
		t.Errorf("%d requests were served, %d refused, of %d that may be in %.1f s, and %d broken off", served.Load(), refused.Load(), most, took, brokenOff.Load())
	}
	requests := p.TokenRequests()
	if fewest := max(60, int(50*took/4)); requests < fewest || requests > 5000 { // each token lives for 2 s
		t.Errorf("%d token requests in %.1f s, want %d at least", requests, took, fewest)
	}
	t.Logf("%d served, %d broken off, %d token requests", served.Load(), brokenOff.Load(), requests)

	for n := range 10 { // more than open any breaker
		user := fmt.Sprintf("user%d", n)
		u.locked.Store(user, true)
		p.RevokeSubject(user)
	}
	for n := range 50 {
		user := fmt.Sprintf("user%d", n)
		a, err := replicas[n%2].as(t.Context(), http.MethodGet, userToken(user))
		switch {
		case err != nil:
			t.Fatal(err)
		case n >= 10:
			if err := a.mine(user); err != nil && (a.status != http.StatusUnauthorized || a.code != "") {
				t.Errorf("others are stopped, too: %v", err)
			}
		case a.status == http.StatusOK:
			t.Errorf("%s is locked out and was served", user)
		}
	}
	for n := range 5 { // unknown ones, of anybody
		if a, err := replicas[0].as(t.Context(), http.MethodGet, fmt.Sprintf("unknown-%d", n)); err != nil || a.code != "subject_refused" {
			t.Errorf("%d %s %v", a.status, a.code, err)
		}
	}
	for _, r := range replicas {
		if found := leaks(t, r, redis); len(found) > 0 {
			t.Errorf("tokens of users are in %q", found)
		}
	}
}

// What a request must have is told: a bearer token, one, in its form, which has not expired,
// and no subject beside it.
//
// Case EXC2.
func TestRequestWithoutItsUsersTokenIsRefused(t *testing.T) {
	var u users
	p, settings := exchanging(t, &u, time.Minute)
	r := start(t, settings...)
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
	}
	for _, c := range []struct {
		authorization []string
		subject, code string
		status        int
	}{
		{nil, "", "subject_token_required", 401},
		{[]string{"Basic dXNlcjpwYXNz"}, "", "subject_token_required", 401},
		{[]string{"Bearer "}, "", "subject_token_required", 401},
		{[]string{"Bearer"}, "", "subject_token_required", 401},
		{[]string{"Bearer a b"}, "", "subject_token_invalid", 400},
		{[]string{"Bearer a,b"}, "", "subject_token_invalid", 400},
		{[]string{"Bearer " + userToken("x"), "Bearer " + userToken("y")}, "", "subject_token_invalid", 400},
		{[]string{"Bearer " + strings.Repeat("x", 17<<10)}, "", "subject_token_invalid", 400},
		{[]string{"Bearer " + jwt(`{"exp":1700000000}`)}, "", "subject_token_expired", 401},
		{[]string{"Bearer " + jwt(`{"exp":-1}`)}, "", "subject_token_expired", 401},
		{[]string{"Bearer " + userToken("x")}, "y", "subject_not_taken", 400},
		{[]string{"bearer  " + userToken("x")}, "", "", 200},
	} {
		req, _ := http.NewRequest(http.MethodGet, "http://"+r.sidecar.Addr("data").String()+"/books/v1/x", nil)
		req.Header["Authorization"] = c.authorization
		if c.subject != "" {
			req.Header.Set("X-Token-Subject", c.subject)
		}
		a, err := r.do(req)
		if err != nil || a.status != c.status || a.code != c.code {
			t.Errorf("%.60q: %d %s %v, want %d %s", c.authorization, a.status, a.code, err, c.status, c.code)
		}
		if wants := a.header.Get("WWW-Authenticate"); (wants == "Bearer") != (c.status == 401) {
			t.Errorf("%.60q: WWW-Authenticate is %q", c.authorization, wants)
		}
	}
	if n := p.TokenRequests(); n != 1 {
		t.Errorf("%d token requests, want 1", n)
	}
}
