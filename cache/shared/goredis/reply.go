package goredis

import (
	"errors"
	"net"
	"syscall"

	"token-sidecar/cache/shared"
)

// limits bounds what a server may send in one reply. go-redis makes room for as
// much as a reply claims to hold, before any of that has come: without limits one
// line of a hostile Redis would cost us gigabytes.
type limits struct {
	line     int // bytes of a line: a simple string, an error, a number or a length, its end included
	bulk     int // bytes of a string that is announced by its length
	elements int // of all arrays, sets and maps of one reply together; a pair of a map is two
	depth    int // arrays within each other
	size     int // bytes of one reply
}

var (
	// serverLimits is for a Redis and for a sentinel. The largest reply of the one is
	// a sealed value and a few numbers, and of the other a list of the other
	// sentinels, half a kilobyte and 28 elements each: 64 KiB is room for a hundred.
	// Nested deepest is the reply to HELLO, which lists the arguments of modules.
	serverLimits = limits{line: 4 << 10, bulk: shared.MaxString, elements: 4 << 10, depth: 8, size: 64 << 10}

	// clusterLimits is for a node of a cluster, which besides lists who serves what:
	// for each range of slots up to 24 elements and half a kilobyte, if two replicas
	// have a host name each. This is room for 680 ranges, or more if they are simpler;
	// Redis is made for a thousand nodes in all.
	clusterLimits = limits{line: 4 << 10, bulk: shared.MaxString, elements: 16 << 10, depth: 8, size: 512 << 10}
)

var errReplyMalformed = errors.New("a reply of Redis breaks the protocol")

// boundedConn is a connection to Redis whose reader never gets a reply beyond the
// limits, nor the claim of one: the connection is closed instead. It belongs below
// go-redis, and above TLS. As with any connection, one goroutine reads at a time.
type boundedConn struct {
	net.Conn
	scanner replyScanner
	err     error // why no more is read; nil while replies are as they should be
}

// withLimits returns conn with its replies bounded. What it returns can be asked for
// the socket if conn can: go-redis does that to see whether a connection that was
// idle is still good.
func withLimits(conn net.Conn, most limits) net.Conn {
	bounded := &boundedConn{Conn: conn, scanner: replyScanner{most: most}}
	if socket, ok := conn.(syscall.Conn); ok {
		return struct {
			*boundedConn
			syscall.Conn
		}{bounded, socket}
	}
	return bounded
}

// Read implements [net.Conn]. It returns nothing of what came together with the first
// byte that is beyond the limits, nor anything after it.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(p)
	if wrong := c.scanner.scan(p[:n]); wrong != nil {
		c.err = wrong
		_ = c.Conn.Close()
		return 0, wrong
	}
	return n, err
}

// replyScanner follows replies as they come, in pieces of any length, and keeps
// nothing of them. It knows version 2 of the Redis protocol, which the data comes
// in, and version 3, which go-redis speaks with sentinels. Of the latter it takes no
// attributes, which no server sends unasked.
type replyScanner struct {
	most limits

	state  replyState
	kind   byte // the first of the line: what kind of value it is
	line   int  // bytes of the line so far
	number int  // that the line says so far, if it is a length
	digits int  // of that number
	minus  bool // the number has a minus sign
	bulk   int  // bytes still to come of a string with a length

	// Of the reply so far:
	size     int // bytes, with those of a string that were announced
	elements int
	open     [maxDepth]int // elements still to come of each array that is open, outermost first
	depth    int           // how many are open
}

// maxDepth is the largest depth that any limits allow.
const maxDepth = 8

// replyState is what the next byte is part of.
type replyState byte

const (
	atValue   replyState = iota // the byte that says what kind of value follows
	inText                      // a line, up to a line feed
	afterCR                     // the same, behind a carriage return
	inLength                    // a number, up to a carriage return
	lengthEnd                   // the line feed behind a number
	inBulk                      // a string with a length, or the carriage return behind it
	bulkEnd                     // the line feed behind such a string
)

// scan follows the bytes of p, which come next. An error says that one of them is
// beyond the limits, or breaks the protocol; no more may be scanned then.
func (s *replyScanner) scan(p []byte) error {
	for len(p) > 0 {
		if n := min(s.bulk, len(p)); n > 0 {
			s.bulk -= n
			p = p[n:]
			continue
		}
		if s.size++; s.size > s.most.size {
			return shared.ErrReplyTooLarge
		}
		if err := s.step(p[0]); err != nil {
			return err
		}
		p = p[1:]
	}
	return nil
}

// step follows one byte that is no part of a string with a length.
func (s *replyScanner) step(b byte) error {
	if s.state == atValue {
		return s.begin(b)
	}
	if s.line++; s.line > s.most.line {
		return shared.ErrReplyTooLarge
	}
	switch s.state {
	case inText, afterCR:
		switch {
		case b == '\n' && s.state == afterCR:
			s.end()
		case b == '\n':
			return errReplyMalformed
		case b == '\r':
			s.state = afterCR
		default:
			s.state = inText
		}
		return nil
	case inLength:
		return s.length(b)
	case inBulk:
		s.state = bulkEnd
		return malformedUnless(b == '\r')
	}
	if b != '\n' {
		return errReplyMalformed
	}
	if s.state == lengthEnd {
		return s.announced()
	}
	s.end()
	return nil
}

func malformedUnless(ok bool) error {
	if !ok {
		return errReplyMalformed
	}
	return nil
}

// begin starts a value, whose first byte is kind.
func (s *replyScanner) begin(kind byte) error {
	s.kind, s.line, s.number, s.digits, s.minus = kind, 1, 0, 0, false
	switch kind {
	case '+', '-', ':', '_', ',', '#', '(':
		s.state = inText
	case '$', '!', '=', '*', '~', '>', '%':
		s.state = inLength
	default:
		return errReplyMalformed
	}
	return nil
}

// length follows one byte of a length: digits, or -1 for a string or an array that
// there is none of. A length beyond the limits ends here, and not when the line does.
func (s *replyScanner) length(b byte) error {
	switch {
	case b == '-':
		ok := s.digits == 0 && !s.minus && (s.kind == '$' || s.kind == '*')
		s.minus = true
		return malformedUnless(ok)
	case b == '\r':
		s.state = lengthEnd
		return malformedUnless(s.digits > 0 && (!s.minus || s.number == 1))
	case b < '0' || b > '9':
		return errReplyMalformed
	}
	s.digits++
	s.number = s.number*10 + int(b-'0')
	if s.isBulk() && s.number > s.most.bulk || !s.isBulk() && s.number > s.most.elements {
		return shared.ErrReplyTooLarge
	}
	return nil
}

// isBulk reports whether the line is the length of a string, and not a number of
// elements.
func (s *replyScanner) isBulk() bool { return s.kind == '$' || s.kind == '!' || s.kind == '=' }

// announced takes a length that has been read whole.
func (s *replyScanner) announced() error {
	if s.minus {
		s.end()
		return nil
	}
	if s.isBulk() {
		s.state, s.bulk, s.line = inBulk, s.number, 0
		if s.size += s.number; s.size > s.most.size {
			return shared.ErrReplyTooLarge
		}
		return nil
	}
	n := s.number
	if s.kind == '%' {
		n *= 2
	}
	if s.elements += n; s.elements > s.most.elements {
		return shared.ErrReplyTooLarge
	}
	if n == 0 {
		s.end()
		return nil
	}
	if s.depth == s.most.depth {
		return shared.ErrReplyTooLarge
	}
	s.open[s.depth] = n
	s.depth++
	s.state = atValue
	return nil
}

// end ends a value, and with it the arrays of which it is the last element.
func (s *replyScanner) end() {
	s.state = atValue
	for s.depth > 0 {
		if s.open[s.depth-1]--; s.open[s.depth-1] > 0 {
			return
		}
		s.depth--
	}
	s.size, s.elements = 0, 0 // the reply has ended
}
