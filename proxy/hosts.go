package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Hosts are the names a request may be addressed to, by its Host header. A web
// page can make its own name resolve to loopback (DNS rebinding), but it cannot
// send another name than its own. The zero Hosts allows none.
type Hosts struct {
	names      map[string]bool
	anyAddress bool
}

// NewHosts allows the loopback names localhost, 127.0.0.1 and ::1 and those
// given, in lower case and without port. With anyAddress it allows every IP
// address too, which no rebinding can forge: for listeners that are reached
// from other machines.
func NewHosts(names []string, anyAddress bool) Hosts {
	h := Hosts{map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}, anyAddress}
	for _, name := range names {
		h.names[name] = true
	}
	return h
}

// AllowedIn reports whether the request r may be served as far as its Host header
// goes: it is among them, or r came through a Unix socket. No web page can reach
// one, and many clients send no more than a made-up name there.
func (h Hosts) AllowedIn(r *http.Request) bool {
	if h.Allowed(r.Host) {
		return true
	}
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && at.Network() == "unix"
}

// Allowed reports whether host, with or without a port, is among them.
func (h Hosts) Allowed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
		if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
			name = inner[:len(inner)-1]
		}
	}
	if h.names[name] || h.names[strings.ToLower(name)] {
		return true
	}
	if !h.anyAddress {
		return false
	}
	_, err = netip.ParseAddr(name)
	return err == nil
}
