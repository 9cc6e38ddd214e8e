package http1

// class is a set of the classes that a character belongs to.
type class uint8

const (
	inToken  class = 1 << iota // of a token (RFC 9110 section 5.6.2)
	inName                     // of a token, but for the underscore
	inTarget                   // of a plain target
	inValue                    // of a plain value
	inHost                     // of a plain Host
	isDigit
	isHex
	isControl // but for the tab
)

var classes = func() (all [256]class) {
	for i := range all {
		c := byte(i)
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		visible := ' ' < c && c < 0x7f
		set := func(which class, holds bool) {
			if holds {
				all[i] |= which
			}
		}
		set(inToken, letter || digit || in("!#$%&'*+-.^_`|~", c))
		set(inName, all[i]&inToken != 0 && c != '_')
		set(inTarget, visible && !in(`#\`, c))
		set(inValue, visible || in(" \t", c))
		set(inHost, letter || digit || in(".-_:[]", c))
		set(isDigit, digit)
		set(isHex, digit || 'a' <= c|0x20 && c|0x20 <= 'f')
		set(isControl, c < ' ' && c != '\t' || c == 0x7f)
	}
	return all
}()

// in reports whether c is one of the characters of set.
func in(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// all reports whether each character of s is of the given class.
func all(s string, of class) bool {
	for i := range len(s) {
		if classes[s[i]]&of == 0 {
			return false
		}
	}
	return true
}

// none reports whether no character of s is of the given class.
func none(s string, of class) bool {
	for i := range len(s) {
		if classes[s[i]]&of != 0 {
			return false
		}
	}
	return true
}
