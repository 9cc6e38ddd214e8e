// Package peek looks at what has come on a connection without reading it: peek_unix.go does so,
// peek_other.go cannot, and peek.go names what a look finds.
package peek

// State is what a look finds.
type State int

const (
	Unknown State = iota // nobody can look, as at TLS, at a pipe, or on other systems
	Quiet                // nothing to read, and no end
	Touched              // something to read, or the end of what the other side sends
	Broken               // the connection has failed, or was closed here
)
