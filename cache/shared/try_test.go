package shared

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/upstream"
)

// TestTryNamesWhatFails has a Redis refuse everything in the way of each code, with
// texts that quote what must not be repeated.
func TestTryNamesWhatFails(t *testing.T) {
	server := miniredis.RunT(t)
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://" + server.Addr()), Timeout: patient})
	for text, want := range map[string]string{
		"READONLY You can't write against a read only replica. canary":   "READONLY",
		"OOM command not allowed when used memory > 'maxmemory'. canary": "OOM",
		"MISCONF canary": "MISCONF",
		"LOADING canary": "LOADING",
		"canary":         "ERR",
		"NOPERM canary":  "NOPERM set get getrange pttl pexpire evalsha eval del",
		"NOPERM User canary has no permissions to run the 'select' command":               "NOPERM select",
		"NOPERM User canary has no permissions to run the 'canary' command":               "NOPERM set get getrange pttl pexpire evalsha eval del",
		"NOPERM No permissions to access a key":                                           "NOPERM ~token-sidecar:*",
		"NOPERM this user has no permissions to access one of the keys used as arguments": "NOPERM ~token-sidecar:*",
	} {
		server.SetError(text)
		err := s.Try(t.Context())
		var failed *TryError
		if !errors.As(err, &failed) || strings.Contains(err.Error(), "canary") || !failed.Answered {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := strings.TrimSpace(failed.Cause + " " + strings.Join(failed.Missing, " ")); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if isOpen(&s.breaker) || outcomes(t, s, "error") > 0 {
		t.Error("a try is counted, or told to the breaker")
	}
	server.SetError("")
	for range failuresToOpen {
		began, _ := s.breaker.allow()
		s.breaker.report(began, false, "x")
	}
	if err := s.Try(t.Context()); err != nil {
		t.Errorf("while Redis is left alone: %v", err)
	}
	if keys := server.Keys(); len(keys) > 0 {
		t.Errorf("%d values are left", len(keys))
	}
}

// TestMissingRightIsNamedBesideWhatWorks has a user who lacks one right that writing values does not need:
// those that are stored do not end what the try has found. Another try does, once the right is there.
func TestMissingRightIsNamedBesideWhatWorks(t *testing.T) {
	for _, right := range []string{"pttl", "pexpire"} {
		url, client := redistest.Start(t)
		s := restricted(t, url, client, right)
		s.Begin(t.Context())
		p := s.Place(upstream.Fingerprint{}, someKey)
		share := func() { mustAcquire(t, s, p).Store(t.Context(), s.Seal(p, someToken(t))) }
		share()
		if status := s.Status(); status.Working || status.Cause != "NOPERM" || status.Missing != right {
			t.Errorf("without %s: %+v", right, status)
		}
		s.health.recordTry(&TryError{Cause: "http_response_timeout"})
		if status := s.Status(); status.Missing != right {
			t.Errorf("after a try without an answer: %+v", status)
		}
		// Once the user has it, the next try finds that, which is due after a while.
		if err := client.Do(t.Context(), "acl", "setuser", "restricted", "+"+right).Err(); err != nil {
			t.Fatal(err)
		}
		client.Del(t.Context(), p.names()...)
		s.health.mu.Lock()
		s.health.tried = s.health.tried.Add(-tryPause)
		s.health.mu.Unlock()
		share()
		for end := time.Now().Add(patient); !s.Status().Working; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("with %s: %+v", right, s.Status())
			}
		}
	}
}

// TestAnotherTryIsMadeWheneverRightsAreInDoubt has Redis refuse one operation for want of a right, or
// answer no try at the start.
func TestAnotherTryIsMadeWheneverRightsAreInDoubt(t *testing.T) {
	h := &health{}
	due := func() bool {
		h.mu.Lock()
		h.tried = time.Time{}
		h.mu.Unlock()
		return h.beginTry()
	}
	if due() {
		t.Error("before Begin has ended")
	}
	h.started()
	h.recordTry(&TryError{Cause: "http_response_timeout"})
	if !due() || h.beginTry() {
		t.Error("no try has had an answer: one is due, and no other right behind it")
	}
	h.recordTry(nil)
	if due() {
		t.Error("all is well")
	}
	h.record("renew", "NOPERM") // as after the rights have changed
	h.record("get", "")
	if !due() {
		t.Error("a right is missing")
	}
	if h.recordTry(nil); due() || !h.status(Status{}).Working {
		t.Error("it is there")
	}
}

// TestBeginNamesTheRightsThatAreMissing has a user who may not even read a value, as Begin
// does before it tries the rest.
func TestBeginNamesTheRightsThatAreMissing(t *testing.T) {
	server := miniredis.RunT(t)
	s := mustNew(t, Config{URL: upstream.NewSecret("redis://" + server.Addr()), Timeout: patient})
	server.SetError("NOPERM User canary has no permissions to run the 'getrange' command")
	s.Begin(t.Context())
	if status := s.Status(); status.Working || status.Cause != "NOPERM" || !strings.Contains(status.Missing, "getrange") {
		t.Errorf("it says %+v", status)
	}
}

// TestTryTriesAllRights makes sure that the try knows every command that docs/redis.md
// tells users to allow, beside those of a mode; time is for budgets alone.
func TestTryTriesAllRights(t *testing.T) {
	url, _ := redistest.Start(t)
	s := mustNew(t, Config{URL: upstream.NewSecret(url), Timeout: patient})
	if err := s.Try(t.Context()); err != nil {
		t.Error(err)
	}
	var rights []string
	for _, probe := range probes("name") {
		rights = append(rights, probe[0].(string))
	}
	slices.Sort(rights)
	if want := []string{"del", "eval", "evalsha", "get", "getrange", "pexpire", "pttl", "set", "time"}; !slices.Equal(rights, want) {
		t.Errorf("it tries %v, want %v", rights, want)
	}
}

// TestBeginTellsTheTruth has the first attempt fail and succeed in each way, and looks
// at what is told afterwards.
func TestBeginTellsTheTruth(t *testing.T) {
	server := miniredis.RunT(t)
	fresh := func() *Store {
		return mustNew(t, Config{URL: upstream.NewSecret("redis://" + server.Addr()), Timeout: patient})
	}
	s := fresh()
	if got := s.Status(); got != (Status{}) {
		t.Errorf("before the first attempt: %+v", got)
	}
	s.Begin(t.Context())
	if got := s.Status(); !got.Working || got.Cause != "" {
		t.Errorf("after a good one: %+v", got)
	}
	p := s.Place(upstream.Fingerprint{}, someKey)
	server.SetError("OOM canary")
	if _, err := s.Look(t.Context(), p, Version{}, Want{Lease: true}); err == nil {
		t.Fatal("Redis does not refuse")
	}
	if got := s.Status(); got.Working || got.Cause != "OOM" {
		t.Errorf("after a refusal: %+v", got)
	}
	server.SetError("")
	if _, err := s.Get(t.Context(), p); err != nil || s.Status().Working {
		t.Errorf("a read says nothing of writes: %v, %+v", err, s.Status())
	}
	if _, err := s.Look(t.Context(), p, Version{}, Want{}); err != nil || s.Status().Working {
		t.Errorf("nor does a look that takes no lease: %v, %+v", err, s.Status())
	}
	if _, err := s.Look(t.Context(), p, Version{}, Want{Lease: true}); err != nil || !s.Status().Working {
		t.Errorf("after a good one: %v, %+v", err, s.Status())
	}
	server.SetError("WRONGPASS canary")
	s = fresh()
	s.Begin(t.Context())
	if got := s.Status(); got.Working || got.Since.IsZero() || got.Cause != "WRONGPASS" {
		t.Errorf("after a bad one: %+v", got)
	}
}
