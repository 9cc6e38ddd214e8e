package proxy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"

	"token-sidecar/upstream"
)

// callers are those who may use the proxy, where that takes a token of their own. A nil
// *callers allows everybody. It is safe for concurrent use and takes no lock.
type callers struct {
	single, named upstream.Secret // as in Config: CallerToken and Callers
	known         atomic.Pointer[knownCallers]
}

// knownCallers is what one pair of values of the secrets says. It does not change.
type knownCallers struct {
	single, named string
	names         map[[sha256.Size]byte]string // of callers by the hash of their token; "" of the single token
}

// newCallers returns nil if neither secret is set.
func newCallers(single, named upstream.Secret) (*callers, error) {
	if !single.IsSet() && !named.IsSet() {
		return nil, nil
	}
	c := &callers{single: single, named: named}
	known, err := newKnownCallers(single.Reveal(), named.Reveal())
	c.known.Store(known)
	return c, err
}

func newKnownCallers(single, named string) (*knownCallers, error) {
	known := &knownCallers{single, named, map[[sha256.Size]byte]string{}}
	if single != "" {
		known.names[sha256.Sum256([]byte(single))] = ""
	}
	if named == "" {
		return known, nil
	}
	list, err := parseCallers(named)
	for hash, name := range list {
		known.names[hash] = name
	}
	return known, err
}

// current returns the callers by the secrets' values of now. It reads these only where they
// have changed; a list with a fault, which the settings do not let through, allows nobody.
func (c *callers) current() *knownCallers {
	known, single, named := c.known.Load(), c.single.Reveal(), c.named.Reveal()
	if known.single == single && known.named == named { // both are compared by their addresses first
		return known
	}
	known, _ = newKnownCallers(single, named)
	c.known.Store(known)
	return known
}

// find reports whether a request has the token of a caller, and that caller's name, which is
// empty if the token has none. It looks the token up by its hash, so that the time this takes
// tells neither the content nor the length of any token.
func (c *callers) find(h http.Header) (name string, ok bool) {
	if c == nil {
		return "", true
	}
	given := h[callerHeader]
	if len(given) != 1 {
		return "", false
	}
	name, ok = c.current().names[sha256.Sum256([]byte(given[0]))]
	return name, ok
}

// Bounds on a list of callers. A token of 16 characters at random cannot be guessed.
const (
	maxCallerLines = 1000
	minCallerToken = 16   // bytes
	maxCallerToken = 4096 // bytes
)

// callerName is the form of a caller's name.
var callerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// CheckCallers returns what is wrong with a list of callers in the form of Config.Callers. The
// error names the line and nothing of its content.
func CheckCallers(text string) error {
	_, err := parseCallers(text)
	return err
}

// parseCallers reads a list of callers, and returns their names by the hashes of their tokens.
func parseCallers(text string) (map[[sha256.Size]byte]string, error) {
	names, lineOf := map[[sha256.Size]byte]string{}, map[[sha256.Size]byte]int{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		hash := sha256.Sum256([]byte(words[len(words)-1]))
		switch {
		case len(words) != 2:
			return nil, fmt.Errorf("line %d is not a name and a token with white space between", i+1)
		case !callerName.MatchString(words[0]):
			return nil, fmt.Errorf("line %d has no valid name: it takes a lower-case letter, then up to 31 lower-case letters, digits and dashes", i+1)
		case len(words[1]) < minCallerToken || len(words[1]) > maxCallerToken:
			return nil, fmt.Errorf("line %d has a token of less than %d or more than %d characters", i+1, minCallerToken, maxCallerToken)
		case strings.ContainsFunc(words[1], func(r rune) bool { return r <= ' ' || r > '~' }):
			return nil, fmt.Errorf("line %d has a token that is not of visible ASCII characters", i+1)
		case lineOf[hash] > 0:
			return nil, fmt.Errorf("line %d has the token of line %d", i+1, lineOf[hash])
		case len(names) == maxCallerLines:
			return nil, fmt.Errorf("it has more than %d callers' tokens", maxCallerLines)
		}
		names[hash], lineOf[hash] = words[0], i+1
	}
	if len(names) == 0 {
		return nil, errors.New("it names no caller")
	}
	return names, nil
}
