package config

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"token-sidecar/upstream"
)

// Targets are the further API hosts of an upstream by name.
type Targets map[string]*url.URL

// String returns the targets as they are written in the settings, sorted.
func (t Targets) String() string {
	items := make([]string, 0, len(t))
	for _, target := range t.List() {
		items = append(items, target.Name+"="+maskURL(target.URL))
	}
	return strings.Join(items, ",")
}

// parseTargets reads targets of the form name=URL,...
func parseTargets(s string) (Targets, *flaw) {
	targets := Targets{}
	for i, item := range strings.Split(s, ",") {
		name, address, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok || !validName.MatchString(name) {
			return nil, flawf("write name=https://host,... with names of lower-case letters, digits and dashes",
				"has no valid name in item %d", i+1)
		}
		if targets[name] != nil {
			return nil, flawf("rename one of them", "holds the name of item %d twice", i+1)
		}
		u, flaw := parseURL(address)
		if flaw != nil {
			return nil, flawf(flaw.mend, "item %d: %s", i+1, flaw.problem)
		}
		targets[name] = u
	}
	return targets, nil
}

// List returns the targets sorted by name.
func (t Targets) List() []upstream.Target {
	list := make([]upstream.Target, 0, len(t))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		list = append(list, upstream.Target{Name: name, URL: t[name]})
	}
	return list
}

// validName is the form of an upstream's name and of a further target's.
var validName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// hostName is the form of a host name, as loose as public zones are.
var hostName = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*)?[A-Za-z0-9]$`)

// validHostName reports whether host has the form of a name, and no address. The lengths are
// those of RFC 1035 section 2.3.4.
func validHostName(host string) bool {
	tooLong := func(label string) bool { return len(label) > 63 }
	return len(host) <= 253 && hostName.MatchString(host) && !slices.ContainsFunc(strings.Split(host, "."), tooLong)
}

// parseURL checks the form of a target or token endpoint. It never quotes the
// value, since people paste URLs with credentials in them.
func parseURL(s string) (*url.URL, *flaw) {
	const mend = "write it as https://host or https://host/path"
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "":
		return nil, flawf(mend, "is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, flawf(mend, "has no https:// scheme")
	case u.User != nil:
		return nil, flawf("put the credential in its own setting", "holds userinfo")
	case strings.Contains(s, "#"):
		return nil, flawf("remove it", "has a fragment")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, flawf("remove it", "has a query")
	case u.Hostname() == "":
		return nil, flawf(mend, "has no host")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !validHostName(u.Hostname()) {
		return nil, flawf(mend, "has no valid host")
	}
	if flaw := portFlaw(u); flaw != nil {
		return nil, flaw
	}
	if u.RawPath != "" || !cleanPath(u.Path) {
		return nil, flawf("write the path plainly", "has a path with dots, double slashes or escapes")
	}
	u.Host = strings.ToLower(u.Host)
	return u, nil
}

// portFlaw checks that u has no port or one from 1 to 65535.
func portFlaw(u *url.URL) *flaw {
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return flawf("write a port from 1 to 65535, or none", "has no valid port")
	}
	return nil
}

// cleanPath reports whether every reader of a path sees the same segments in it.
func cleanPath(p string) bool {
	return !strings.ContainsAny(p, `\%`) && (p == "" || p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/"))
}

// maskURL prints u without what may be secret in it.
func maskURL(u *url.URL) string {
	user := ""
	if u.User != nil {
		user = "[redacted]@"
	}
	return fmt.Sprintf("%s://%s%s%s", u.Scheme, user, u.Host, u.EscapedPath())
}
