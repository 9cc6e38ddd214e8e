package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Hosts are the names a request may be addressed to, by its Host header. A web
// page can make its own name resolve to loopback (DNS rebinding), but it cannot
// send another name than its own. The zero Hosts allows none. It does not change, so that
// its methods are safe for concurrent use.
type Hosts struct {
	names      map[string]bool
	anyAddress bool
}

// NewHosts returns Hosts that allow the loopback names localhost, 127.0.0.1 and ::1 and
// those given, which are in lower case and without port. With anyAddress they allow every
// IP address too, which no rebinding can forge: for listeners that are reached from other
// machines.
func NewHosts(names []string, anyAddress bool) Hosts {
	h := Hosts{map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}, anyAddress}
	for _, name := range names {
		h.names[name] = true
	}
	return h
}

// AllowedIn reports whether r may be served as far as its Host header goes: the host is
// allowed, or r came through a Unix socket. No web page can reach one, and many clients
// send no more than a made-up name there.
func (h Hosts) AllowedIn(r *http.Request) bool {
	if h.Allowed(r.Host) {
		return true
	}
	address, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && address.Network() == "unix"
}

// Allowed reports whether a request may be addressed to host, which may have a port.
func (h Hosts) Allowed(host string) bool {
	if h.names[host] {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil { // there is no port
		name = host
		if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
			name = inner[:len(inner)-1]
		}
	}
	if h.names[strings.ToLower(name)] {
		return true
	}
	_, err = netip.ParseAddr(name)
	return h.anyAddress && err == nil
}

// host is the host of a URL, in the form in which hosts are compared.
type host struct {
	name string // in lower case, without the dot that may end a full name
	port string // without leading zeros; empty if it is the default of http or https
}

// hostOf returns the host of a URL. The default ports of http and https are the same to
// it, since the sidecar turns the one scheme into the other.
func hostOf(u *url.URL) host {
	h := host{strings.TrimRight(strings.ToLower(u.Hostname()), "."), strings.TrimLeft(u.Port(), "0")}
	if h.port == "80" || h.port == "443" {
		h.port = ""
	}
	return h
}

// isTarget reports whether some route has its target at a host.
func (p *Proxy) isTarget(at host) bool {
	for _, r := range p.routes {
		if r.host == at {
			return true
		}
	}
	return false
}

// routeAt returns the route with its target at a host and the longest base that path is
// below, or nil. It reports whether other routes have the same host and base. If name is
// not empty, only the route of that name counts.
func (p *Proxy) routeAt(at host, path, name string) (longest *route, ambiguous bool) {
	for _, r := range p.routes {
		switch {
		case r.host != at, !under(path, r.base), name != "" && name != r.Name:
		case longest == nil, len(r.base) > len(longest.base):
			longest, ambiguous = r, false
		case len(r.base) == len(longest.base):
			ambiguous = true
		}
	}
	return longest, ambiguous
}

// under reports whether path is base or below it, by whole segments.
func under(path, base string) bool {
	return strings.HasPrefix(path, base) && (len(path) == len(base) || path[len(base)] == '/')
}

// isSidecar reports whether a host, without port, is or may be this machine or a name of
// the sidecar's. A port says nothing: several listeners may be the sidecar's.
func (x *exchange) isSidecar(name string) bool {
	switch name { // as hosts files have them
	case "localhost", "loopback", "ip6-localhost", "ip6-loopback", "localhost6", "localhost.localdomain", "localhost6.localdomain6":
		return true
	}
	if strings.HasSuffix(name, ".localhost") || x.proxy.config.Hosts.Allowed(name) {
		return true
	}
	if !x.absolute && hostOf(&url.URL{Host: x.in.Host}).name == name {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && isLocal(ip)
}

// isLocal reports whether ip is a loopback or the unspecified address. It looks at IPv4
// addresses within IPv6 ones, too (RFC 4291 section 2.5.5).
func isLocal(ip netip.Addr) bool {
	if b := ip.As16(); ip.Is6() && [12]byte(b[:12]) == [12]byte{} && !ip.IsLoopback() {
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsUnspecified()
}

// unambiguousHost reports whether all clients read a host as the same IP address or name.
// They do not if the last label of a name is a number: C libraries and browsers take
// "0x7f.1" and "2130706433" for 127.0.0.1. Nor do they if it holds other bytes than names
// in DNS do: browsers turn wide digits and letters into plain ones.
func unambiguousHost(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return plainName.MatchString(name) && !numericLabel.MatchString(name)
}

var (
	plainName    = regexp.MustCompile(`^[a-z0-9._-]+$`)
	numericLabel = regexp.MustCompile(`(?:^|\.)(?:[0-9]*|0x[0-9a-f]*)$`) // the last one, which may be empty
)
