package proxy

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"token-sidecar/upstream"
)

// The log names each caller, on each way in, and holds no token.
//
// Case B14.
func TestCallersAreNamedInTheLog(t *testing.T) {
	const app, other, single = "token-of-the-app-1", "token-of-the-other", "the-single-token"
	config := func(c *Config) {
		c.CallerToken = upstream.NewSecret(single)
		c.Callers = upstream.NewSecret("# ours\n\napp " + app + "\r\n app\tanother-token-of-the-app\nnight-job " + other + "\n")
		c.Vend = []string{"mydatahelps.participant"}
	}
	upstreams := func(s *side) []upstream.Upstream {
		u, _ := s.myDataHelps()
		return []upstream.Upstream{s.oauth2("alpha", s.up.url()), u}
	}
	s := newSide(t, setup{config: config, upstreams: upstreams})
	dedicated := newSide(t, setup{config: func(c *Config) { config(c); c.Vend = nil }, fixed: "alpha"})
	for _, c := range []struct {
		s                   *side
		method, path, token string
		status              int
		name                string
	}{
		{s, "GET", "/alpha/x", app, 200, "app"},
		{s, "GET", "/alpha/x", "another-token-of-the-app", 200, "app"},
		{s, "GET", "/alpha/x", other, 200, "night-job"},
		{s, "GET", "/alpha/x", single, 200, ""},
		{s, "GET", "/nowhere/x", app, 404, "app"},
		{s, "GET", s.up.url() + "/x", other, 400, "night-job"}, // two routes are at that target
		{dedicated, "GET", dedicated.up.url() + "/x", other, 200, "night-job"},
		{dedicated, "GET", "/x", app, 200, "app"},
		{s, "GET", "/token/mydatahelps.participant/~nobody", app, 405, "app"},
		{s, "GET", "/token/mydatahelps.participant/~nobody", "wrong-token-wrong-token", 403, ""},
		{s, "GET", "/alpha/x", "app", 403, ""},
		{s, "GET", "/alpha/x", "app " + app, 403, ""},
		{s, "GET", "/alpha/x", app + ", " + other, 403, ""},
		{dedicated, "GET", "/x", "wrong-token-wrong-token", 403, ""},
	} {
		before := len(c.s.log.String())
		if a := c.s.send(c.method, c.path, "", "X-Sidecar-Token: "+c.token); a.status != c.status {
			t.Errorf("%s with %q: %d %s, want %d", c.path, c.token, a.status, a.body, c.status)
		}
		var line string
		eventually(t, "a line in the log", func() bool {
			line = c.s.log.String()[before:]
			return strings.HasSuffix(line, "\n")
		})
		if got, want := strings.Contains(line, `"caller":`), c.name != ""; got != want || !strings.Contains(line, `"caller":"`+c.name+`"`) && want {
			t.Errorf("%s with %q: %s, want the caller %q", c.path, c.token, line, c.name)
		}
		if strings.Contains(line, "token-") || strings.Contains(line, "-token") || strings.Contains(line, "nobody") {
			t.Errorf("the log holds a token or a subject: %s", line)
		}
	}
	s.get("/alpha/x").problem(t, 403, "caller_refused")
	s.get("/alpha/x", "X-Sidecar-Token: "+app, "X-Sidecar-Token: "+app).problem(t, 403, "caller_refused")
	s.get("/alpha/x", "X-Sidecar-Token: "+app, "x-sidecar-token: "+other).problem(t, 403, "caller_refused")
	if strings.Contains(s.up.last().head, "idecar-Token") {
		t.Errorf("the target saw %q", s.up.last().head)
	}
}

// While the list changes from one token to both, and on to the other, no caller is refused
// that sends a token of the list.
//
// Case B14.
func TestCallersTokensRotateUnderLoad(t *testing.T) {
	const before, after = "the-token-before-it", "the-token-after-it-"
	list := upstream.NewSecret("app " + before)
	s := newSide(t, setup{config: func(c *Config) { c.Callers = list }})
	var token atomic.Value
	token.Store(before)
	load := func(swap func()) {
		var all sync.WaitGroup
		var done atomic.Int64
		for range 4 {
			all.Go(func() {
				for range 50 {
					done.Add(1)
					if a := s.get("/alpha/x", "X-Sidecar-Token: "+token.Load().(string)); a.status != 200 {
						t.Errorf("%d %s", a.status, a.body)
					}
				}
			})
		}
		eventually(t, "half of the requests", func() bool { return done.Load() > 100 })
		swap()
		all.Wait()
	}
	load(func() { list.Replace("app " + before + "\napp " + after) })
	load(func() { token.Store(after) })
	load(func() { list.Replace("app " + after) })
	s.get("/alpha/x", "X-Sidecar-Token: "+before).problem(t, 403, "caller_refused")
	list.Replace("nothing")
	s.get("/alpha/x", "X-Sidecar-Token: "+after).problem(t, 403, "caller_refused")
}

// What is wrong with a list names the line, and nothing of what stands there.
func TestFaultyCallersAreNotTaken(t *testing.T) {
	good := "app good-token-good-token\n"
	many := ""
	for i := range 1000 {
		many += fmt.Sprintf("app many-tokens-many-%d\n", i)
	}
	for text, want := range map[string]string{
		"":                                                          "no caller",
		"# app canary-canary-canary\n\n":                            "no caller",
		"canary-canary-canary":                                      "line 1 ",
		good + "\n# x\ncanary canary 1":                             "line 4 ",
		good + "Canary canary-canary-1":                             "line 2 has no valid name",
		good + "1canary canary-canary-1":                            "line 2 has no valid name",
		good + "canary canary-canary-":                              "line 2 has a token",
		good + "canary canary-canäry-1":                             "line 2 has a token",
		good + "canary canary-canary-1\x7f":                         "line 2 has a token",
		good + "canary " + strings.Repeat("canary", 700):            "line 2 has a token",
		good + strings.Repeat("a", 33) + " canary-canary-1":         "line 2 has no valid name",
		good + "canary canary-canary-12\nother canary-canary-12":    "line 3 has the token of line 2",
		good + "canary canary-canary-12\n\ncanary canary-canary-12": "line 4 has the token of line 2",
		many + "app one-token-too-many":                             "more than 1000",
	} {
		if err := CheckCallers(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(strings.ToLower(err.Error()), "canar") {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{good, many, "a " + strings.Repeat("~", 4096), strings.Repeat("a", 32) + " 1234567890123456"} {
		if err := CheckCallers(text); err != nil {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	if _, err := New(Config{Callers: upstream.NewSecret("nothing")}); err == nil {
		t.Error("a proxy has a list that cannot be read")
	}
}
