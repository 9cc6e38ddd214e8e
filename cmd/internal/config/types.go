package config

import (
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// ByteSize is a number of bytes, written as 512B, 64KiB, 1MiB or 1GiB.
type ByteSize int64

// String returns the size with the largest unit that leaves it whole.
func (b ByteSize) String() string {
	for i := len(byteUnits) - 1; i > 0; i-- {
		if u := byteUnits[i]; b != 0 && b%u.bytes == 0 {
			return strconv.FormatInt(int64(b/u.bytes), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

var byteUnits = []struct {
	name  string
	bytes ByteSize
}{{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}}

// parseByteSize reads a whole number and a unit.
func parseByteSize(s string) (ByteSize, *flaw) {
	digits := strings.TrimRight(s, "BKMGi")
	unit := s[len(digits):]
	for _, u := range byteUnits {
		n, err := strconv.ParseUint(digits, 10, 63)
		if unit == u.name && err == nil && n <= uint64(math.MaxInt64/u.bytes) {
			return ByteSize(n) * u.bytes, nil
		}
	}
	return 0, flawf("write a whole number and B, KiB, MiB or GiB, such as 64KiB", "is not a size")
}

// Rate is a number of requests per second, written 9/s or 100/m. The zero Rate is none.
type Rate float64

// String returns the rate per second or per minute, whichever is shorter; the zero Rate
// is empty.
func (r Rate) String() string {
	if r == 0 {
		return ""
	}
	second := strconv.FormatFloat(float64(r), 'f', -1, 64) + "/s"
	// The division of what was written by 60 may have left a small error.
	minute := strconv.FormatFloat(math.Round(float64(r)*60*1e9)/1e9, 'f', -1, 64) + "/m"
	if len(minute) < len(second) {
		return minute
	}
	return second
}

var rateForm = regexp.MustCompile(`^([0-9]+(?:[.][0-9]+)?)/([sm])$`)

// parseRate reads a number without sign or exponent, per second or per minute.
func parseRate(s string) (Rate, *flaw) {
	m := rateForm.FindStringSubmatch(s)
	if m == nil {
		return 0, flawf("write it such as 9/s or 100/m", "is not a number of requests per second or minute")
	}
	n, _ := strconv.ParseFloat(m[1], 64) // what is too large is infinite
	if m[2] == "m" {
		n /= 60
	}
	return Rate(n), nil
}

// parseBool takes no other words than true and false.
func parseBool(s string) (bool, *flaw) {
	if s != "true" && s != "false" {
		return false, flawf("write true or false", "is not a truth value")
	}
	return s == "true", nil
}

// parseFloat takes neither infinity nor NaN.
func parseFloat(s string) (float64, *flaw) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, flawf("write it such as 0.25", "is not a number")
	}
	return f, nil
}

// parseList reads items between commas, none of them empty or twice.
func parseList(s string) ([]string, *flaw) {
	items := strings.Split(s, ",")
	for i, item := range items {
		items[i] = strings.TrimSpace(item)
		switch {
		case items[i] == "":
			return nil, flawf("remove the comma too many", "has an empty item")
		case slices.Contains(items[:i], items[i]):
			return nil, flawf("remove one of them", "holds item %d twice", i+1)
		}
	}
	return items, nil
}

// parseSubjectPlace reads where a generic upstream takes a subject.
func parseSubjectPlace(s string) (upstream.SubjectPlace, *flaw) {
	place, ok := upstream.ParseSubjectPlace(s)
	if !ok {
		return place, flawf("write refused, or optional or required and claim:NAME or param:NAME, such as: required claim:sub", "does not say where a subject goes")
	}
	return place, nil
}

// parseAllowList reads the requests that are let through.
func parseAllowList(s string) (proxy.AllowList, *flaw) {
	items, flaw := parseList(s)
	if flaw != nil {
		return proxy.AllowList{}, flaw
	}
	list, position, err := proxy.ParseAllowList(items)
	if err != nil {
		return list, flawf("write METHOD /path or /path, as for Go's http.ServeMux, such as: GET /api/v1/, POST /api/v1/surveys/{id}", "has an item %d that %s", position, err)
	}
	return list, nil
}

// Listener is where to listen. The zero Listener is none.
type Listener struct {
	Network string // tcp or unix
	Address string // host:port with the host in canonical form, or a path
}

// IsZero reports whether l is no listener.
func (l Listener) IsZero() bool { return l.Network == "" }

// String returns the listener as it is written in the settings.
func (l Listener) String() string {
	if l.Network == "unix" {
		return "unix:" + l.Address
	}
	return l.Address
}

// maxUnixPath bounds a socket's path, in bytes: macOS takes 103, Linux 107.
const maxUnixPath = 103

// parseListener reads an address with a port, or unix: and a path. It looks no name up:
// localhost means 127.0.0.1.
func parseListener(s string) (Listener, *flaw) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case !filepath.IsAbs(path) || filepath.Clean(path) != path:
			return Listener{}, flawf("write it as unix:/absolute/path", "is not a clean absolute path")
		case len(path) > maxUnixPath:
			return Listener{}, flawf("choose a shorter one", "has a socket path of more than %d bytes", maxUnixPath)
		}
		return Listener{"unix", path}, nil
	}
	const mend = "write it as host:port, [ip6]:port or unix:/path"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Listener{}, flawf(mend, "is not an address with a port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return Listener{}, flawf("write a port from 0 to 65535 in digits", "has no valid port")
	}
	if strings.EqualFold(host, "localhost") {
		host = "127.0.0.1"
	} else if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	} else if host != "" && !validHostName(host) {
		return Listener{}, flawf(mend, "has no valid host")
	}
	return Listener{"tcp", net.JoinHostPort(strings.ToLower(host), port)}, nil
}
