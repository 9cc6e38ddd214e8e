package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// redisShown is what check and the status page tell of Redis in JSON.
type redisShown struct {
	Outcome, State, Class, Code, Severity string
	Cause, Mend                           string
	Missing                               []string
}

// check runs the subcommand with the settings of f and returns its exit code, what it
// tells of Redis, and all that it printed.
func (f *fleet) check(args ...string) (code int, redis *redisShown, text string) {
	f.t.Helper()
	cmd := exec.Command(testkit.Binary(f.t), append([]string{"check", "--subject", "humanapi=someone"}, args...)...)
	cmd.Env = f.environ
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	if slices.Contains(args, "--json") {
		var report struct{ Redis *redisShown }
		if err := json.NewDecoder(bytes.NewReader(out.Bytes())).Decode(&report); err != nil {
			f.t.Errorf("%v: %s", err, &out)
		}
		redis = report.Redis
	}
	return cmd.ProcessState.ExitCode(), redis, out.String()
}

// redisOnPage returns what the status page tells of Redis.
func (r *replica) redisOnPage(t *testing.T) redisShown {
	t.Helper()
	text, err := r.read("/", "Accept", "application/json")
	var page struct{ Redis redisShown }
	if err == nil {
		err = json.Unmarshal([]byte(text), &page)
	}
	if err != nil {
		t.Fatal(err)
	}
	return page.Redis
}

// withoutRight is the rules of a user with all rights but one.
func withoutRight(right string) []any {
	return append(slices.Clone(minimalACL), "-"+right)
}

// TestBrokenRedisIsTold has Redis down, shut, or stingy from the start: check says
// what is wrong, the status page never says that tokens are shared, the first error is
// in a series that exists, and requests are served.
//
// Case U2.
func TestBrokenRedisIsTold(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		set     func(*redisServer) (url string)
		outcome string // class/code of check
		missing string
		mend    string
	}{
		{"down", func(s *redisServer) string { s.Kill(); return s.URL() }, "unreachable/connection_refused", "", "SIDECAR_REDIS_URL"},
		{"wrong password", func(s *redisServer) string {
			s.setUser(minimalACL...)
			return strings.Replace(s.userURL(), redisPassword, "wr0ng-canary", 1)
		}, "refused/WRONGPASS", "", "user:password@"},
		{"no password", func(s *redisServer) string {
			s.do("config", "set", "requirepass", redisPassword)
			return s.URL()
		}, "refused/NOAUTH", "", "user:password@"},
		{"no EVALSHA", stingy("evalsha"), "refused/NOPERM", "evalsha", "+evalsha"},
		{"no EVAL", stingy("eval"), "refused/NOPERM", "eval", "+eval"},
		{"no SET", stingy("set"), "refused/NOPERM", "set", "+set"},
		{"no GET", stingy("get"), "refused/NOPERM", "get", "+get"},
		{"no GETRANGE", stingy("getrange"), "refused/NOPERM", "getrange", "+getrange"},
		{"no PTTL", stingy("pttl"), "refused/NOPERM", "pttl", "+pttl"},
		{"no PEXPIRE", stingy("pexpire"), "refused/NOPERM", "pexpire", "+pexpire"},
		{"no DEL", stingy("del"), "refused/NOPERM", "del", "+del"},
		{"other names only", func(s *redisServer) string {
			s.setUser(append(slices.Clone(minimalACL), "resetkeys", "~other:*")...)
			return s.userURL()
		}, "refused/NOPERM", "~token-sidecar:*", "~token-sidecar:*"},
		{"no SELECT", func(s *redisServer) string { s.setUser(minimalACL...); return s.userURL() + "/3" },
			"refused/NOPERM", "select", "+select"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t)
			p := newProvider(t, time.Minute)
			f := newFleet(t, p, "SIDECAR_REDIS_URL="+tt.set(s))
			code, redis, raw := f.check("--json")
			if code != 1 || redis == nil || redis.Class+"/"+redis.Code != tt.outcome || strings.Join(redis.Missing, " ") != tt.missing ||
				redis.Cause == "" || !strings.Contains(redis.Mend, tt.mend) {
				t.Errorf("check: exit code %d, %+v, want %s, missing %q, mend with %q", code, redis, tt.outcome, tt.missing, tt.mend)
			}
			code, _, text := f.check()
			if flat := strings.Join(strings.Fields(text), " "); code != 1 || redis != nil && !strings.Contains(flat, "cause: "+redis.Cause+" mend: "+redis.Mend) ||
				!strings.Contains(flat, "redis standalone - "+s.Addr()+" "+tt.outcome) {
				t.Errorf("check: exit code %d, %s", code, text)
			}
			testkit.AssertNoLeak(t, raw+text, redisPassword, "wr0ng-canary")
			neverShares(t, f.start(), tt.missing)
		})
	}
}

// stingy is a Redis whose user may do all but run one command.
func stingy(command string) func(*redisServer) string {
	return func(s *redisServer) string {
		s.setUser(withoutRight(command)...)
		return s.userURL()
	}
}

// neverShares uses r until its page tells what is wrong, and some more.
func neverShares(t *testing.T, r *replica, missing string) {
	t.Helper()
	if s := r.scrape(t); !s.has("redis_operations_total", `operation="acquire"`, `outcome="error"`) {
		t.Error("the series of errors does not exist from the start")
	}
	look := func() redisShown {
		shown := r.redisOnPage(t)
		if shown.State == "sharing" {
			t.Fatalf("the page says %+v", shown)
		}
		return shown
	}
	testkit.Eventually(t, "the page tells that Redis fails", func() error {
		if shown := look(); shown.Severity != "warning" || shown.Cause == "" {
			return fmt.Errorf("it says %+v", shown)
		}
		return nil
	})
	for i := range 5 {
		subject := fmt.Sprint("subject-", i)
		if err := r.ask(subject).mine(subject); err != nil {
			t.Error(err)
		}
		// PEXPIRE is used only for token requests that last.
		if missing != "pexpire" {
			look()
		}
	}
}

// TestGoodRedisIsTold has all in order: check says so and leaves nothing behind,
// and the page says that tokens are shared before the first is needed. Without Redis
// check says nothing of it.
//
// Case U2.
func TestGoodRedisIsTold(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	s.setUser(minimalACL...)
	f := newFleet(t, newProvider(t, time.Minute), "SIDECAR_REDIS_URL="+s.userURL())
	code, redis, text := f.check("--json")
	if code != 0 || redis == nil || redis.Outcome != "ok" || redis.Mend != "" {
		t.Errorf("check: exit code %d, %+v: %s", code, redis, text)
	}
	if code, _, text := f.check(); code != 0 || !strings.Contains(strings.Join(strings.Fields(text), " "), "redis standalone - "+s.Addr()+" ok") {
		t.Errorf("check: exit code %d, %s", code, text)
	}
	if n := s.Client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("check leaves %d values behind", n)
	}
	r := f.start()
	testkit.Eventually(t, "the page says that tokens are shared", func() error {
		if shown := r.redisOnPage(t); shown.State != "sharing" || shown.Severity != "ok" {
			return fmt.Errorf("it says %+v", shown)
		}
		return nil
	})
	if refused := s.Client.Do(t.Context(), "acl", "log").Val(); fmt.Sprint(refused) != "[]" {
		t.Errorf("refused: %v", refused)
	}
	alone := newFleet(t, newProvider(t, time.Minute))
	alone.environ = slices.DeleteFunc(alone.environ, func(e string) bool { return strings.HasPrefix(e, "SIDECAR_REDIS_") })
	if code, redis, text := alone.check("--json"); code != 0 || redis != nil {
		t.Errorf("check without Redis: exit code %d, %s", code, text)
	}
}
