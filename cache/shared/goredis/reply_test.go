package goredis

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"token-sidecar/cache/shared"
)

// fewLimits are small, so that tests can name what is just beyond them.
var fewLimits = limits{line: 12, bulk: 20, elements: 8, depth: 3, size: 60}

// verdicts are replies, one after the other, and what becomes of them.
var verdicts = map[string]error{
	"":                                      nil,
	"+OK\r\n":                               nil,
	"-ERR wrong\r\n":                        nil,
	":-7\r\n$3\r\nabc\r\n$0\r\n\r\n":        nil,
	"$-1\r\n*-1\r\n*0\r\n_\r\n":             nil,
	"$20\r\n01234567890123456789\r\n":       nil,
	"$007\r\n\r\n\r\n\r\n*\r\n":             nil, // a string of line ends
	"*2\r\n*1\r\n*1\r\n:1\r\n+a\r\n":        nil,
	"*8\r\n" + strings.Repeat(":1\r\n", 8):  nil,
	"%2\r\n+a\r\n:1\r\n+b\r\n~1\r\n#t\r\n":  nil,
	">2\r\n+message\r\n,1.5\r\n":            nil,
	"!5\r\nERR x\r\n=5\r\ntxt:a\r\n(12\r\n": nil,
	"+a\rb\r\n":                             nil, // go-redis too goes by the line feed

	"+01234567890\r\n":             shared.ErrReplyTooLarge, // a line of 14 bytes
	"+" + strings.Repeat("a", 100): shared.ErrReplyTooLarge,
	"$21\r\n":                      shared.ErrReplyTooLarge,
	"$67108864\r\n":                shared.ErrReplyTooLarge,
	"$2":                           nil,
	"$99":                          shared.ErrReplyTooLarge, // whatever digits follow
	"$0000000000000001\r\na\r\n":   shared.ErrReplyTooLarge,
	"$18446744073709551616\r\n":    shared.ErrReplyTooLarge, // wraps around to nothing
	"!21\r\n":                      shared.ErrReplyTooLarge,
	"=21\r\n":                      shared.ErrReplyTooLarge,
	"*9\r\n":                       shared.ErrReplyTooLarge,
	"*100000000\r\n":               shared.ErrReplyTooLarge,
	"~9\r\n":                       shared.ErrReplyTooLarge,
	">9\r\n":                       shared.ErrReplyTooLarge,
	"%5\r\n":                       shared.ErrReplyTooLarge, // ten elements
	"*4\r\n*5\r\n":                 shared.ErrReplyTooLarge, // nine elements in all
	"*1\r\n*1\r\n*1\r\n*1\r\n":     shared.ErrReplyTooLarge,
	"*1\r\n*1\r\n*1\r\n*0\r\n":     nil,
	"*4\r\n" + strings.Repeat("$20\r\n01234567890123456789\r\n", 2) + "$10\r\n": shared.ErrReplyTooLarge, // 64 bytes
	strings.Repeat("$20\r\n01234567890123456789\r\n", 9):                        nil,                     // of nine replies

	"+123456789\r\n+123456789\r\n": nil, // two lines of twelve bytes
	"+1234567890\r\n":              shared.ErrReplyTooLarge,

	"?\r\n":              errReplyMalformed,
	"HTTP/1.1 400\r\n":   errReplyMalformed,
	"|1\r\n+a\r\n+b\r\n": errReplyMalformed,
	"\r\n":               errReplyMalformed,
	"+OK\n":              errReplyMalformed,
	"$\r\n":              errReplyMalformed,
	"$+3\r\nabc\r\n":     errReplyMalformed,
	"$ 3\r\nabc\r\n":     errReplyMalformed,
	"$3\nabc\r\n":        errReplyMalformed,
	"$3\r abc\r\n":       errReplyMalformed,
	"$?\r\n":             errReplyMalformed,
	"$-2\r\n":            errReplyMalformed,
	"$-\r\n":             errReplyMalformed,
	"$--1\r\n":           errReplyMalformed,
	"$1-1\r\n":           errReplyMalformed,
	"$-0\r\n":            errReplyMalformed,
	"%-1\r\n":            errReplyMalformed,
	"~-1\r\n":            errReplyMalformed,
	"$3\r\nabcd\r\n":     errReplyMalformed,
	"$3\r\nabc\n":        errReplyMalformed,
	"$3\r\nabc\rd":       errReplyMalformed,
}

// TestRepliesBeyondTheLimits reads replies that are within each limit, just beyond
// it and far beyond, or that break the protocol.
//
// Case R5.
func TestRepliesBeyondTheLimits(t *testing.T) {
	for replies, want := range verdicts {
		for name, pieces := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "by byte": iotest.OneByteReader, "by half": iotest.HalfReader,
			"with its end": iotest.DataErrReader,
		} {
			got, err := readBounded(pieces(strings.NewReader(replies)), fewLimits)
			if !errors.Is(err, want) {
				t.Errorf("%q %s: %v, want %v", replies, name, err, want)
			}
			if want == nil && got != replies {
				t.Errorf("%q %s: %q was read", replies, name, got)
			}
		}
	}
}

// source is the connection to a server that sends what r holds, and then ends.
type source struct {
	net.Conn // nil: nothing else is done with it
	r        io.Reader
	closed   bool
}

func (s *source) Read(p []byte) (int, error) { return s.r.Read(p) }
func (s *source) Close() error               { s.closed = true; return nil }

// readBounded reads all there is of r within the limits. It fails if a connection that
// sent more than that is left open, or gives more when it is read again.
func readBounded(r io.Reader, most limits) (string, error) {
	s := &source{r: r}
	conn := withLimits(s, most)
	got, err := io.ReadAll(conn)
	if err != nil {
		if n, again := conn.Read(make([]byte, 10)); n != 0 || again != err || !s.closed {
			return "", fmt.Errorf("after %w it gives %d bytes and %v; it is closed: %v", err, n, again, s.closed)
		}
	}
	return string(got), err
}

// TestLimitsHoldWhatWeNeed reads the largest replies that the limits are made for.
func TestLimitsHoldWhatWeNeed(t *testing.T) {
	value := fmt.Sprintf("$%d\r\n%s\r\n", shared.MaxString, strings.Repeat("x", shared.MaxString))
	module := "*8\r\n+name\r\n+search\r\n+ver\r\n:80400\r\n+path\r\n" + "$40\r\n" + strings.Repeat("p", 40) +
		"\r\n+args\r\n*2\r\n+WORKERS\r\n+8\r\n"
	hello := "*14\r\n" + strings.Repeat("+server\r\n+redis\r\n", 6) + "+modules\r\n*20\r\n" + strings.Repeat(module, 20)
	sentinel := "%14\r\n" + strings.Repeat("$15\r\n012345678901234\r\n$10\r\n0123456789\r\n", 14)
	node := "*4\r\n$15\r\n255.255.255.255\r\n:65535\r\n$40\r\n" + strings.Repeat("a", 40) + "\r\n*2\r\n+hostname\r\n$50\r\n" + strings.Repeat("h", 50) + "\r\n"
	slots := "*680\r\n" + strings.Repeat("*5\r\n:16382\r\n:16383\r\n"+strings.Repeat(node, 3), 680)
	for name, c := range map[string]struct {
		reply string
		most  limits
	}{
		"a value and its time to live": {value + ":3600000\r\n", serverLimits},
		"a lease that was taken":       {"*4\r\n:1\r\n:2000\r\n" + value + ":3600000\r\n", serverLimits},
		"modules":                      {hello, serverLimits},
		"a hundred sentinels":          {"*100\r\n" + strings.Repeat(sentinel, 100), serverLimits},
		"a fail-over":                  {"*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$29\r\nm 10.0.0.1 6379 10.0.0.2 6379\r\n", serverLimits},
		"a value in a cluster":         {value + ":3600000\r\n", clusterLimits},
		"680 ranges of slots":          {slots, clusterLimits},
	} {
		if got, err := readBounded(strings.NewReader(c.reply), c.most); err != nil || got != c.reply {
			t.Errorf("%s: %v, %d bytes of %d", name, err, len(got), len(c.reply))
		}
	}
}

// FuzzRepliesOfEveryForm has the same bytes come in other pieces: that must change neither what
// is read nor what is said of it.
//
// Case R5.
func FuzzRepliesOfEveryForm(f *testing.F) {
	for replies := range verdicts {
		f.Add([]byte(replies), uint16(3))
	}
	f.Fuzz(func(t *testing.T, replies []byte, at uint16) {
		whole, err := readBounded(bytes.NewReader(replies), fewLimits)
		if err == nil && whole != string(replies) {
			t.Errorf("%q was read of %q", whole, replies)
		}
		cut := int(at) % (len(replies) + 1)
		parts := io.MultiReader(bytes.NewReader(replies[:cut]), iotest.OneByteReader(bytes.NewReader(replies[cut:])))
		split, again := readBounded(parts, fewLimits)
		if again != err || err == nil && split != whole || !strings.HasPrefix(string(replies), split) {
			t.Errorf("cut at %d: %q and %v, else %q and %v", cut, split, again, whole, err)
		}
	})
}

// TestReadsAllocateNothing reads many values over one connection.
//
// Case R5.
func TestReadsAllocateNothing(t *testing.T) {
	value := []byte(fmt.Sprintf("*2\r\n$1024\r\n%s\r\n:3600000\r\n", strings.Repeat("x", 1024)))
	r := bytes.NewReader(value)
	conn := withLimits(&source{r: r}, serverLimits)
	into := make([]byte, 4<<10)
	if n := testing.AllocsPerRun(1000, func() {
		r.Reset(value)
		if n, err := conn.Read(into); n != len(value) || err != nil {
			t.Fatalf("%d bytes were read: %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for each read", n)
	}
}

// TestLimitsKeepTheSocketInSight looks at what go-redis needs to see whether the server
// has closed a connection that was idle.
func TestLimitsKeepTheSocketInSight(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := withLimits(conn, serverLimits).(syscall.Conn); !ok {
		t.Error("the socket of a connection is hidden")
	}
	// What go-redis would see there are records, and not replies.
	if _, ok := withLimits(tls.Client(conn, nil), serverLimits).(syscall.Conn); ok {
		t.Error("the socket below TLS is shown")
	}
}
