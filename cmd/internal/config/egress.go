package config

import (
	"net/url"
	"slices"
	"strings"

	"token-sidecar/upstream/egress"
)

// Egress returns the proxy that connections to targets and token endpoints go through,
// nil if there is none.
func (c *Config) Egress() *egress.Proxy {
	if c.EgressProxy == nil {
		return nil
	}
	var direct egress.Direct
	for _, item := range c.EgressDirect {
		_ = direct.Add(item) // checked when it was parsed
	}
	return &egress.Proxy{Address: c.EgressProxy.Host, Credentials: c.EgressProxyAuth.Reveal, Direct: direct}
}

// egressProxyFlaw checks the URL of the egress proxy. It has nothing but scheme, host and
// port, since nothing else would be used.
func egressProxyFlaw(s string) *flaw {
	const mend = "write it as http://host:port"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "":
		return flawf(mend, "is not a URL")
	case u.User != nil:
		return flawf("put user:password into SIDECAR_EGRESS_PROXY_AUTH", "holds userinfo")
	case u.Scheme != "http":
		return flawf(mend, "has no http:// scheme; the sidecar speaks to the proxy in clear, and TLS through it")
	case strings.TrimSuffix(u.Path, "/") != "":
		return flawf(mend, "has a path")
	case u.Port() == "":
		return flawf(mend, "has no port")
	}
	return nil
}

// directFlaw checks the list of hosts that are reached without the egress proxy.
func directFlaw(s string) *flaw {
	items, flaw := parseList(s)
	for i, item := range items {
		if err := new(egress.Direct).Add(item); err != nil {
			return flawf("write host names, .suffixes, IP addresses or ranges such as 10.0.0.0/8, without port", "item %d %s", i+1, err)
		}
	}
	return flaw
}

// userpassFlaw checks credentials in the form of RFC 7617 section 2.
func userpassFlaw(s string) *flaw {
	if user, _, ok := strings.Cut(s, ":"); !ok || user == "" {
		return flawf("write it as user:password", "is not a user and a password with a colon between them")
	}
	return nil
}

// proxyVariables returns the variables of environ, in order, that name an HTTP proxy for
// other programs. The sidecar does not use them: whoever can set them could have its
// traffic led elsewhere.
func proxyVariables(environ []string) []string {
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY":
			if value != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
