package shared

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// replies are single replies, and what is wrong with them; nil: nothing.
var replies = []struct {
	text string
	want error
}{
	{"+OK\r\n", nil},
	{"-ERR no\r\n", nil},
	{":-12\r\n", nil},
	{"$-1\r\n", nil},
	{"*-1\r\n", nil},
	{"$0\r\n\r\n", nil},
	{"*0\r\n", nil},
	{"$3\r\na\r\n\r\n", nil},
	{"*2\r\n*1\r\n:1\r\n$1\r\na\r\n", nil},
	{"%1\r\n+a\r\n:1\r\n", nil},
	{"*1\r\n$24577\r\n" + strings.Repeat("x", maxSealed+1) + "\r\n", nil},
	{"$24578\r\n", errReplyTooLarge},
	{"$99999999999999999999\r\n", errReplyTooLarge},
	{"*4097\r\n", errReplyTooLarge},
	{"%2049\r\n", errReplyTooLarge},
	{strings.Repeat("*1\r\n", 9), errReplyTooLarge},
	{"*3\r\n" + strings.Repeat("$24000\r\n"+strings.Repeat("x", 24000)+"\r\n", 3), errReplyTooLarge},
	{"+" + strings.Repeat("x", 4<<10), errReplyTooLarge},
	{"-" + strings.Repeat("x", 4<<10), errReplyTooLarge},
	{"HTTP/1.1 400 Bad Request\r\n", errReplyMalformed},
	{"$3\r\nabcd\r\n", errReplyMalformed},
	{"$3x\r\n", errReplyMalformed},
	{"$\r\n", errReplyMalformed},
	{"$-2\r\n", errReplyMalformed},
	{"+a\n", errReplyMalformed},
	{"$1\rx", errReplyMalformed},
}

// TestRepliesAreBounded reads each reply between two good ones, in pieces of every
// small size: what is good passes byte for byte, and from the first that is not on
// nothing does.
func TestRepliesAreBounded(t *testing.T) {
	for _, r := range replies {
		for _, size := range []int{1, 2, 3, 7, 1 << 20} {
			all := "+before\r\n" + r.text + "+after\r\n"
			got, err := readPieces([]byte(all), size)
			switch {
			case r.want == nil && (err != nil || got != all):
				t.Errorf("%.40q in pieces of %d: %d of %d bytes, %v", r.text, size, len(got), len(all), err)
			case r.want != nil && (!errors.Is(err, r.want) || !strings.HasPrefix(got, "+before\r\n") || !strings.HasPrefix(all, got)):
				t.Errorf("%.40q in pieces of %d: %v, want %v", r.text, size, err, r.want)
			case r.want != nil && strings.Contains(got, "after"):
				t.Errorf("%.40q in pieces of %d: what comes behind it is read", r.text, size)
			}
		}
	}
}

// readPieces reads through limits what a server sends in pieces, until that ends.
func readPieces(all []byte, size int) (string, error) {
	server, client := net.Pipe()
	go func() {
		defer server.Close()
		for len(all) > 0 {
			n := min(size, len(all))
			if _, err := server.Write(all[:n]); err != nil {
				return
			}
			all = all[n:]
		}
	}()
	conn := withLimits(client, serverLimits)
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if _, again := conn.Read(make([]byte, 1)); err != nil && again == nil {
		return string(got), errors.New("it is read on behind an error")
	}
	return string(got), err
}

// FuzzReplies cuts a reply anywhere: the verdict does not depend on where.
func FuzzReplies(f *testing.F) {
	for _, r := range replies {
		if len(r.text) < 1000 {
			f.Add([]byte(r.text), 1)
		}
	}
	f.Fuzz(func(t *testing.T, all []byte, cut int) {
		whole := replyScanner{most: serverLimits}
		good, err := whole.scan(all)
		parts := replyScanner{most: serverLimits}
		cut = min(max(cut, 0), len(all))
		first, wrong := parts.scan(all[:cut])
		if wrong == nil {
			var second int
			second, wrong = parts.scan(all[cut:])
			first += second
		}
		if first != good || wrong != err {
			t.Errorf("%d bytes and %v in one piece, %d and %v in two", good, err, first, wrong)
		}
	})
}
