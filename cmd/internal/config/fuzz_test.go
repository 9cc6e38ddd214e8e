package config

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
)

// FuzzParse feeds lines of NAME=value. A configuration is refused with
// faults of one line each, or is one that keeps its promises; in neither case
// does a secret show.
func FuzzParse(f *testing.F) {
	f.Add("LISTEN=127.0.0.1:1\nADMIN_LISTEN=[::1]:1")
	f.Add("LISTEN=unix:/tmp/x\nEXPOSE=true\nPDX_LISTEN=:0")
	f.Add("PDX_TARGETS=a=https://h/x,b=http://localhost:1\nPDX_ENVIRONMENT=sandbox")
	f.Add("REDIS_URL=rediss://u:pw@h:1/2?addr=x\nREDIS_MODE=cluster\nREDIS_KEYS=" + ringKey("a", 1))
	f.Add("OAUTH2_0_NAME=a\nOAUTH2_0_TARGET=https://[::1]:5\nOAUTH2_1_AUTH=post\nOAUTH2_999999999_NAME=x\nOAUTH2_00_X=")
	f.Add("REPLAY_LIMIT=1GiB\nREPLAY_METHODS=GET, PUT\nREFRESH_AHEAD=0x1p-3\nTOKEN_TIMEOUT=1m1s\nMAX_TOKENS=+1")
	f.Add("PDX_TOKEN_BUDGET=9/s\nREDIS_URL=redis://h\nREDIS_KEYS=" + ringKey("a", 1))
	f.Add("PDX_TOKEN_BUDGET=1e9/m\nOCLC_TOKEN_BUDGET=0.1/m\nOAUTH2_0_TOKEN_BUDGET=9/h")
	f.Add("OCLC_WSKEY=k\nOCLC_SECRET_FILE=/dev/null\nVEND=humanapi\nPORT_8080_TCP=x\nPORT=tcp://h\n=\nLISTNE")
	f.Fuzz(func(t *testing.T, text string) {
		environ := pdxWith("CALLER_TOKEN=" + testkit.Canary)
		for line := range strings.SplitSeq(text, "\n") {
			environ = append(environ, "SIDECAR_"+line)
		}
		var out bytes.Buffer
		c, err := Parse(environ, goredis.Driver{})
		var faults *Error
		switch {
		case err == nil:
			checkPromises(t, c)
			if err := c.WriteEffective(&out); err != nil {
				t.Error(err)
			}
		case !errors.As(err, &faults):
			t.Errorf("error %T is no Error", err)
		case c != nil || len(faults.Faults) != strings.Count(err.Error(), "\n")+1:
			t.Errorf("not one line for each of %d faults:\n%v", len(faults.Faults), err)
		default:
			out.WriteString(err.Error())
		}
		if strings.Contains(out.String(), testkit.Canary) && !strings.Contains(text, testkit.Canary) {
			t.Errorf("a secret shows:\n%s", out.String())
		}
	})
}

func checkPromises(t *testing.T, c *Config) {
	t.Helper()
	if c.PDX.Target == nil || c.PDX.TokenURL == nil || c.PDX.Target.Host == "" || !c.PDX.ClientSecret.IsSet() {
		t.Error("an upstream that is on lacks a URL or its secret")
	}
	if c.Listen.IsZero() || c.AdminListen.IsZero() || c.MaxTokens < 1 || !(c.RefreshAhead > 0 && c.RefreshAhead <= 0.9) ||
		c.TokenTimeout <= 0 || c.TargetTimeout <= 0 || c.ReplayLimit < 0 || !(c.TokenRate > 0) {
		t.Error("a setting is out of its range")
	}
	if c.Redis.On() && len(c.Redis.KeyRing()) == 0 {
		t.Error("Redis is on without a key")
	}
	for name, perSecond := range c.Budgets() {
		if !c.Redis.On() || !(perSecond >= 1.0/60 && perSecond <= 100000) {
			t.Errorf("the budget of %s is %v per second, Redis is on: %t", name, perSecond, c.Redis.On())
		}
	}
	for _, s := range c.listeners() {
		l := s.listener()
		if c.Expose == "false" && l.Network == "tcp" && !l.hostPort().loopback() {
			t.Errorf("%s is exposed", s.name)
		}
	}
}
