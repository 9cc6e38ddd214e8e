package soak

import (
	"strings"
	"testing"
	"time"
)

// TestRedisErrorTextsAreNotRepeated has Redis refuse what the sidecar asks in words that
// quote it. The app gets its answers all the same, and nobody reads the words.
//
// Case I4.
func TestRedisErrorTextsAreNotRepeated(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		set   []any  // to be done before
		quote string // in the error that the server gives, as this test sees it
		cause string // in the log
	}{
		"no scripting": {args: []string{"--rename-command", "EVAL", "", "--rename-command", "EVALSHA", ""},
			quote: "ERR unknown command", cause: `"cause":"ERR"`},
		"no permission": {set: []any{"acl", "setuser", "default", "-evalsha", "-eval"},
			quote: "NOPERM", cause: `"cause":"NOPERM"`},
		"full": {set: []any{"config", "set", "maxmemory", "1", "maxmemory-policy", "noeviction"},
			quote: "OOM", cause: `"cause":"OOM"`},
		"wrong password": {args: []string{"--requirepass", "another"}, quote: "NOAUTH", cause: `"cause":"NOAUTH"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := startRedis(t, c.args...)
			if c.set != nil {
				if err := redis.Client.Do(t.Context(), c.set...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			err := redis.Client.Eval(t.Context(), "return redis.call('set', KEYS[1], ARGV[1])", []string{"k"}, "v").Err()
			if err == nil || !strings.Contains(err.Error(), c.quote) {
				t.Fatalf("the server says %v", err)
			}
			p := newProvider(t, 10*time.Second)
			s := start(t, p, append(redis.environ(), "SIDECAR_LOG_LEVEL=trace")...)
			l := newLoad(t, s, p, 100, 10)
			r := l.runUntil(50, 150)
			if r.statuses[200] != r.sent {
				t.Errorf("%s", r)
			}
			for _, fault := range r.faults {
				t.Error(fault)
			}
			s.show("/metrics")
			s.show("/")
			for _, out := range []*scanner{s.stderr, s.pages, l.answers} {
				out.report(t)
			}
			checkLog(t, s.stderr.String(), c.cause)
		})
	}
}

// checkLog wants the cause in the log, and nothing of the words of Redis.
func checkLog(t *testing.T, log, cause string) {
	t.Helper()
	if !strings.Contains(log, cause) {
		t.Errorf("the log does not tell the cause, %s", cause)
	}
	for _, quoted := range []string{"args beginning", "token-sidecar:{", "no permissions", "maxmemory", ":lease", ":token"} {
		if strings.Contains(log, quoted) {
			t.Errorf("the log repeats %q", quoted)
		}
	}
}
