package config

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
)

func TestWrongEgressSettingsAreRefused(t *testing.T) {
	const proxy = "EGRESS_PROXY=http://proxy.test:3128"
	checkWrong(t, []wrong{
		{pdxWith("EGRESS_PROXY=https://proxy.test:3128"), "EGRESS_PROXY", "http:// scheme"},
		{pdxWith("EGRESS_PROXY=proxy.test:3128"), "EGRESS_PROXY", "http://host:port"},
		{pdxWith("EGRESS_PROXY=http://proxy.test"), "EGRESS_PROXY", "no port"},
		{pdxWith("EGRESS_PROXY=http://:3128"), "EGRESS_PROXY", "no host"},
		{pdxWith("EGRESS_PROXY=http://proxy.test:0"), "EGRESS_PROXY", "valid port"},
		{pdxWith("EGRESS_PROXY=http://proxy.test:3128/a"), "EGRESS_PROXY", "path"},
		{pdxWith("EGRESS_PROXY=http://proxy.test:3128?a"), "EGRESS_PROXY", "query"},
		{pdxWith("EGRESS_PROXY=http://user:" + testkit.Canary + "@proxy.test:3128"), "EGRESS_PROXY", "SIDECAR_EGRESS_PROXY_AUTH"},
		{pdxWith("EGRESS_PROXY=http://localhost:9090"), "EGRESS_PROXY", "own SIDECAR_ADMIN_LISTEN"},
		{pdxWith("EGRESS_PROXY_AUTH=user:" + testkit.Canary), "EGRESS_PROXY", "is not set, but SIDECAR_EGRESS_PROXY_AUTH is"},
		{pdxWith("EGRESS_DIRECT=a.test"), "EGRESS_PROXY", "is not set, but SIDECAR_EGRESS_DIRECT is"},
		{pdxWith(proxy, "EGRESS_PROXY_AUTH="+testkit.Canary), "EGRESS_PROXY_AUTH", "user:password"},
		{pdxWith(proxy, "EGRESS_PROXY_AUTH=:"+testkit.Canary), "EGRESS_PROXY_AUTH", "user:password"},
		{pdxWith(proxy, "EGRESS_PROXY_AUTH=user:\r\n"+testkit.Canary), "EGRESS_PROXY_AUTH", "control character"},
		{pdxWith(proxy, "EGRESS_PROXY_AUTH_FILE="+writeFile(t, testkit.Canary)), "EGRESS_PROXY_AUTH_FILE", "user:password"},
		{pdxWith(proxy, "EGRESS_DIRECT=a.test:80"), "EGRESS_DIRECT", "item 1"},
		{pdxWith(proxy, "EGRESS_DIRECT=a.test,*.b.test"), "EGRESS_DIRECT", "item 2"},
		{pdxWith(proxy, "EGRESS_DIRECT=10.0.0.0/33"), "EGRESS_DIRECT", "range"},
		{pdxWith(proxy, "EGRESS_DIRECT=a.test,,b.test"), "EGRESS_DIRECT", "empty item"},
	})
}

// TestEgressProxyReachesEveryProvider: the proxy that is set is that of targets and of every
// provider, and is spoken to in clear without INSECURE_HTTP.
func TestEgressProxyReachesEveryProvider(t *testing.T) {
	c, err := Parse(pdxWith("EGRESS_PROXY=http://proxy.test:3128/", "EGRESS_PROXY_AUTH=user:"+testkit.Canary, "EGRESS_DIRECT=.a.test, 10.0.0.0/8",
		"OAUTH2_0_NAME=books", "OAUTH2_0_CLIENT_ID=id", "OAUTH2_0_CLIENT_SECRET=secret",
		"OAUTH2_0_TARGET=https://api.test", "OAUTH2_0_TOKEN_URL=https://id.test/token"), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.providers() {
		made := p.common().upstreamConfig(new(url.URL), new(url.URL), nil, "", 0, nil).Egress
		if made == nil || made.Address != "proxy.test:3128" || made.Credentials() != "user:"+testkit.Canary ||
			!made.Direct.Has("b.a.test") || !made.Direct.Has("10.1.2.3") || made.Direct.Has("b.test") {
			t.Errorf("%s has %+v", p.name, made)
		}
	}
	if c.Egress().Address != "proxy.test:3128" {
		t.Errorf("targets have %+v", c.Egress())
	}
}

// TestIgnoredProxyVariablesAreNamed: whoever sets a proxy for other programs, in whatever
// case, and none for the sidecar is told that it takes another setting. Values are not shown.
func TestIgnoredProxyVariablesAreNamed(t *testing.T) {
	others := []string{"https_proxy=http://" + testkit.Canary, "HTTP_PROXY=http://" + testkit.Canary, "All_Proxy=x", "NO_PROXY=x", "ftp_proxy=x"}
	for _, c := range []struct {
		environ []string
		want    bool
	}{
		{append(pdxWith(), others...), true},
		{append(pdxWith("EGRESS_PROXY=http://proxy.test:3128"), others...), false},
		{append(pdxWith(), "HTTPS_PROXY="), false},
	} {
		parsed, err := Parse(c.environ, goredis.Driver{})
		if err != nil {
			t.Fatal(err)
		}
		warnings := parsed.Warnings()
		told := slices.ContainsFunc(warnings, func(w string) bool {
			return strings.HasPrefix(w, "All_Proxy, HTTP_PROXY, https_proxy in the environment: ignored; set SIDECAR_EGRESS_PROXY")
		})
		if told != c.want || strings.Contains(strings.Join(warnings, "\n"), testkit.Canary) {
			t.Errorf("warnings %q", warnings)
		}
	}
}
