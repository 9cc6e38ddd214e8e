package proxy

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// escapeReference returns a reference with the bytes percent-encoded that a URI
// cannot hold (RFC 3986 section 2), as clients do themselves. It refuses control
// bytes, which some clients leave out and others end at, and backslashes, which
// some take for slashes.
func escapeReference(raw string) (string, bool) {
	const hex = "0123456789ABCDEF"
	odd := strings.IndexFunc(raw, func(r rune) bool { return r >= 0x7f || !inURI(byte(r)) })
	if odd < 0 {
		return raw, true
	}
	out := append(make([]byte, 0, len(raw)+16), raw[:odd]...)
	for i := odd; i < len(raw); i++ {
		switch c := raw[i]; {
		case c < ' ', c == 0x7f, c == '\\':
			return "", false
		case inURI(c):
			out = append(out, c)
		default:
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out), true
}

func inURI(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte("\"<>\\^`{|}", c) < 0
}

// plainUnreserved decodes the escapes of a path that change nothing when they are
// decoded (RFC 3986 section 6.2.2.2), which clients may do at any time.
func plainUnreserved(path string) string {
	if strings.IndexByte(path, '%') < 0 {
		return path
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			decoded, err := url.PathUnescape(path[i : i+3])
			if err == nil && (isAlnum(decoded[0]) || strings.IndexByte("-._~", decoded[0]) >= 0) {
				c, i = decoded[0], i+2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// hostOf returns the host of a URL without its port, and with it, as targets are
// compared: in lower case, without the dot that ends a full name, without the
// default port of http or https, since the sidecar turns the one into the other.
func hostOf(u *url.URL) (name, at string) {
	name = strings.TrimRight(strings.ToLower(u.Hostname()), ".")
	at = name
	if strings.Contains(name, ":") {
		at = "[" + name + "]"
	}
	switch port := strings.TrimLeft(u.Port(), "0"); port {
	case "", "80", "443":
		return name, at
	default:
		return name, at + ":" + port
	}
}

// isTarget reports whether some route has its target at a host, as hostOf returns it.
func (p *Proxy) isTarget(at string) bool {
	for _, r := range p.routes {
		if r.at == at {
			return true
		}
	}
	return false
}

// baseAt finds the longest base that path is below, of the routes with their
// target at a host.
func (p *Proxy) baseAt(at, path string) (base string, found bool) {
	for _, r := range p.routes {
		if r.at == at && under(path, r.base) && (!found || len(r.base) > len(base)) {
			base, found = r.base, true
		}
	}
	return base, found
}

// itself reports whether a host, without port, is or may be this machine or a
// name of the sidecar's. A port says nothing: several listeners may be the
// sidecar's.
func (x *exchange) itself(name string) bool {
	switch name { // as hosts files have them
	case "localhost", "loopback", "ip6-localhost", "ip6-loopback", "localhost6", "localhost.localdomain", "localhost6.localdomain6":
		return true
	}
	if strings.HasSuffix(name, ".localhost") || x.proxy.config.Hosts.Allowed(name) {
		return true
	}
	if asked, _ := hostOf(&url.URL{Host: x.in.Host}); asked == name && !x.absolute() {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && thisMachine(ip)
}

// thisMachine finds loopback and unspecified addresses, those of IPv4 in IPv6 too
// (RFC 4291 section 2.5.5).
func thisMachine(ip netip.Addr) bool {
	if b := ip.As16(); ip.Is6() && [12]byte(b[:12]) == [12]byte{} && !ip.IsLoopback() {
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsUnspecified()
}

// plainHost reports whether all clients read a host as the same IP address or
// name. They do not if the last label of a name is a number: C libraries and
// browsers take "0x7f.1" and "2130706433" for 127.0.0.1. Nor if it holds other
// bytes than names in DNS do: browsers turn wide digits and letters into plain ones.
func plainHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	for i := range len(name) {
		if c := name[i]; !isAlnum(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits, hex := strings.CutPrefix(last, "0x")
	number := strings.IndexFunc(digits, func(r rune) bool {
		return (r < '0' || '9' < r) && !(hex && 'a' <= r && r <= 'f')
	}) < 0
	return last != "" && !number
}

// ambiguousUser reports whether clients differ on where a user's name ends and
// the host begins.
func ambiguousUser(u *url.URL, ref string) bool {
	if u.User == nil {
		return false
	}
	_, authority, _ := strings.Cut(ref, "//")
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	return strings.Count(authority, "@") > 1
}

// ownReferer reports whether a request's Referer is one of a program that has
// followed a redirect: the URL that redirected it was the sidecar's or a
// target's. A browser on the sidecar's own pages is told by other headers.
func (p *Proxy) ownReferer(r *http.Request, values []string) bool {
	if len(values) != 1 {
		return false
	}
	u, err := url.Parse(values[0])
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	if _, at := hostOf(u); p.isTarget(at) {
		return true
	}
	return u.Scheme == "http" && trimPort(strings.ToLower(u.Host), ":80") == trimPort(strings.ToLower(r.Host), ":80")
}
