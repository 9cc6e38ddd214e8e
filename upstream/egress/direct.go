package egress

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Direct is a list of hosts. Names are compared as they are written, since nothing is
// looked up: a name is no member for its address. The zero Direct holds loopback alone.
type Direct struct {
	names    []string // in lower case; one that begins with a dot stands for all names below it
	prefixes []netip.Prefix
}

// nameForm is the form of a name in a list, in lower case.
var nameForm = regexp.MustCompile(`^[.]?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?[.])*[a-z0-9_]([a-z0-9_-]*[a-z0-9])?$`)

// Add adds an item to the list: a host name, a name with a dot before it for all names
// below that, an IP address, or a range of addresses in the form of CIDR (RFC 4632
// section 3.1). It must not run beside other methods. The error quotes nothing.
func (d *Direct) Add(item string) error {
	item = strings.ToLower(item)
	if ip, err := netip.ParseAddr(item); err == nil {
		ip = ip.Unmap().WithZone("")
		d.prefixes = append(d.prefixes, netip.PrefixFrom(ip, ip.BitLen()))
		return nil
	}
	if strings.Contains(item, "/") {
		prefix, err := netip.ParsePrefix(item)
		if err != nil || prefix.Addr().Is4In6() {
			return errors.New("is not a range of addresses")
		}
		d.prefixes = append(d.prefixes, prefix)
		return nil
	}
	if !nameForm.MatchString(item) {
		return errors.New("is not a host")
	}
	d.names = append(d.names, item)
	return nil
}

// Has reports whether host, a name or an address without brackets, is in the list. All
// addresses of loopback are, and localhost is.
func (d Direct) Has(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if ip, err := netip.ParseAddr(host); err == nil {
		ip = ip.Unmap().WithZone("")
		return ip.IsLoopback() || slices.ContainsFunc(d.prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	return host == "localhost" || slices.ContainsFunc(d.names, func(name string) bool {
		return name == host || name[0] == '.' && strings.HasSuffix(host, name)
	})
}
