package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// listeners returns the settings of all listeners that are set.
func (c *Config) listeners() []setting {
	var list []setting
	for _, s := range c.settings() {
		if listener, ok := s.value.Interface().(Listener); ok && !listener.IsZero() {
			list = append(list, s)
		}
	}
	return list
}

// checkListeners checks exposure and that no two listeners are in each other's way.
func (l *loader) checkListeners(c *Config) {
	list := c.listeners()
	for i, s := range list {
		listener := s.listener()
		if listener.Network == "unix" {
			l.checkSocket(s.name, listener.Address)
		} else {
			l.checkExposure(c, s.name, listener)
		}
		for _, other := range list[:i] {
			if listener.collides(other.listener()) {
				l.fault(s.name, flawf("give each listener an address of its own", "is the address of %s too", other.name))
			}
		}
	}
}

// jwksListen is the listener that everybody may reach: what it shows is public.
const jwksListen = prefix + "JWKS_LISTEN"

// checkExposure keeps listeners on loopback unless told otherwise.
func (l *loader) checkExposure(c *Config, name string, listener Listener) {
	admin := name == prefix+"ADMIN_LISTEN"
	if name == jwksListen || listener.hostPort().loopback() || c.Expose == "true" || c.Expose == "admin" && admin || l.faulty[prefix+"EXPOSE"] {
		return
	}
	mend := "listen on 127.0.0.1, or set SIDECAR_EXPOSE=true if others on the network may use the credentials"
	if admin {
		mend = "listen on 127.0.0.1, or set SIDECAR_EXPOSE=admin if others on the network may read metrics and status"
	}
	l.fault(name, flawf(mend, "is not a loopback address"))
}

// checkSocket makes sure that a socket can be made at path.
func (l *loader) checkSocket(name, path string) {
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.Mode().Type() != os.ModeSocket:
		l.fault(name, flawf("remove it or choose another path", "names something that exists and is not a socket"))
	case err != nil:
		if flaw := inDirectory(path); flaw != nil {
			l.fault(name, flaw)
		}
	}
}

// inDirectory checks that there is a directory in which path can be made.
func inDirectory(path string) *flaw {
	if dir, err := os.Stat(filepath.Dir(path)); err != nil || !dir.IsDir() {
		return &flaw{"is in a directory that does not exist", "create it or choose another path", true}
	}
	return nil
}

// hostPort is one end of a TCP connection as far as the settings tell: nothing
// is looked up, so a name equals only itself.
type hostPort struct {
	ip   netip.Addr // invalid: name holds
	name string     // kept for localhost beside the address it most likely has
	port int
}

// hostPortOf reads host and port. An empty host is every address.
func hostPortOf(host, port string) hostPort {
	n, _ := strconv.Atoi(port) // checked when it was parsed
	if host == "" {
		return hostPort{ip: netip.IPv6Unspecified(), port: n}
	}
	if host == "localhost" {
		return hostPort{ip: netip.AddrFrom4([4]byte{127, 0, 0, 1}), name: host, port: n}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return hostPort{ip: ip.Unmap(), port: n}
	}
	return hostPort{name: host, port: n}
}

// collides reports whether two listeners cannot both start.
func (l Listener) collides(other Listener) bool {
	if l.Network == "tcp" && other.Network == "tcp" {
		return l.hostPort().collides(other.hostPort())
	}
	return l == other
}

// hostPort returns where a TCP listener listens.
func (l Listener) hostPort() hostPort {
	i := strings.LastIndexByte(l.Address, ':')
	return hostPortOf(strings.Trim(l.Address[:i], "[]"), l.Address[i+1:])
}

// wildcard reports whether e is every address of the machine.
func (e hostPort) wildcard() bool { return e.ip.IsValid() && e.ip.IsUnspecified() }

// loopback reports whether only programs on the machine reach e.
func (e hostPort) loopback() bool { return e.ip.IsValid() && e.ip.IsLoopback() }

// collides reports whether TCP listeners at e and f cannot both start. Those of port 0
// always can.
func (e hostPort) collides(f hostPort) bool {
	return e.port == f.port && e.port != 0 &&
		(e.wildcard() || f.wildcard() || e.ip == f.ip && e.name == f.name)
}

// reaches reports whether a connection to e arrives at a listener at f.
func (e hostPort) reaches(f hostPort) bool {
	if e.port != f.port {
		return false
	}
	// Connecting to 0.0.0.0 means this host; localhost may be ::1 too.
	anyLocal := e.wildcard() || e.name == "localhost"
	return e.ip == f.ip && e.name == f.name || (anyLocal || e.loopback()) && f.wildcard() || anyLocal && f.loopback()
}
