package cache

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// endless is what a hostile reply goes on with. It is made once, so that the server
// in this process costs no memory while it is measured.
var endless = map[string][]byte{
	"elements": bytes.Repeat([]byte("$3\r\nabc\r\n"), 8<<10),
	"text":     bytes.Repeat([]byte("a"), 64<<10),
	"arrays":   bytes.Repeat([]byte("*1\r\n"), 16<<10),
}

// goesOn sends head, and then parts until the client has left.
func goesOn(head, parts string) func(net.Conn) {
	return func(conn net.Conn) {
		_, err := io.WriteString(conn, head)
		for err == nil {
			_, err = conn.Write(endless[parts])
		}
	}
}

// hostileReplies are what a Redis can answer to have its client use memory or time,
// and what that may be called. It depends on how a reply comes in pieces whether we or
// go-redis are first to see what is wrong with one that is none to the command too.
var hostileReplies = map[string]struct {
	send   func(net.Conn)
	causes []string
}{
	"an array of 100,000,000": {goesOn("*100000000\r\n", "elements"), []string{"reply_too_large"}},
	"a map of 100,000,000":    {goesOn("%100000000\r\n", "elements"), []string{"reply_too_large"}},
	"an endless line":         {goesOn("+", "text"), []string{"reply_too_large"}},
	"an endless error":        {goesOn("-ERR ", "text"), []string{"reply_too_large"}},
	"a string of 64 MiB":      {goesOn("$67108864\r\n", "text"), []string{"reply_too_large"}},
	"arrays in arrays":        {goesOn("*1\r\n", "arrays"), []string{"reply_too_large", "http_protocol_error"}},
	"a byte a second":         {drips, []string{"connection_read_timeout"}},
}

// drips sends a byte a second until the client has left.
func drips(conn net.Conn) {
	for _, b := range endless["elements"] {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}

// hostileRedis returns the address of a server that answers every command so, over TLS
// if config is not nil. If greets is true it is harmless until a connection is set up.
func hostileRedis(t *testing.T, config *tls.Config, greets bool, send func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait() // the clients are closed by now
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				command := make([]byte, 4<<10)
				n, err := conn.Read(command)
				if greets && bytes.Contains(command[:n], []byte("hello")) {
					_, _ = io.WriteString(conn, "-ERR unknown command\r\n")
					_, err = conn.Read(command)
				}
				if err == nil {
					send(conn)
				}
			})
		}
	})
	return l.Addr().String()
}

// TestHugeRepliesCostNoMemory has a Redis, a sentinel and a node of a cluster answer
// with more than there is memory for. Loads go on as they would without a Redis, and
// make hardly any garbage. Without the limits on replies these answers cost hundreds
// of megabytes, or gigabytes.
//
// Case R5.
func TestHugeRepliesCostNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("there are many ways to reach Redis, and many replies")
	}
	https := httptest.NewTLSServer(nil) // only for its certificate
	defer https.Close()
	roots := x509.NewCertPool()
	roots.AddCert(https.Certificate())
	for _, way := range []struct {
		mode, scheme, query string
		server              *tls.Config
	}{
		{"standalone", "redis://", "", nil}, {"sentinel", "redis://", "?master_name=m", nil}, {"cluster", "redis://", "", nil},
		{"standalone", "rediss://", "", https.TLS}, {"sentinel", "rediss://", "?master_name=m", https.TLS}, {"cluster", "rediss://", "", https.TLS},
	} {
		for name, c := range hostileReplies {
			for _, greets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s%s/%s/greets %v", way.scheme, way.mode, name, greets), func(t *testing.T) {
					i := &issuer{life: time.Hour}
					timeout := time.Minute // a slow machine must not make it the cause
					if slices.Contains(c.causes, "connection_read_timeout") {
						timeout = 0 // the usual one
					}
					r, _ := i.joinBy(t, shared.Config{Mode: way.mode, Timeout: timeout, TLS: &tls.Config{RootCAs: roots},
						URL: upstream.NewSecret(way.scheme + hostileRedis(t, way.server, greets, c.send) + way.query)})
					wantHarmless(t, i, r, c.causes)
				})
			}
		}
	}
}

// wantHarmless makes as many loads as it takes for Redis to be left alone.
func wantHarmless(t *testing.T, i *issuer, r *Cache, causes []string) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range 3 {
		if got, want := mustGet(t, r, fmt.Sprint("alice", n)), fmt.Sprintf("alice%d-%d", n, n+1); got != want {
			t.Errorf("load %d got %s, want %s", n, got, want)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("the loads took %d KiB of memory", grown>>10)
	}
	if n := i.calls.Load(); n != 3 {
		t.Errorf("%d token requests for three subjects", n)
	}
	if cause := r.config.Shared.Status().Cause; !slices.Contains(causes, cause) {
		t.Errorf("the cause is called %q, want one of %q", cause, causes)
	}
}
