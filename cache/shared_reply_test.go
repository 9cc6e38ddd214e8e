package cache

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
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
	"nodes":    bytes.Repeat([]byte("*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n"), 4<<10),
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
// and what that is called.
var hostileReplies = map[string]struct {
	send  func(net.Conn)
	cause string
}{
	"an array of 100,000,000": {goesOn("*100000000\r\n", "elements"), "reply_too_large"},
	"a map of 100,000,000":    {goesOn("%100000000\r\n", "elements"), "reply_too_large"},
	"an endless line":         {goesOn("+", "text"), "reply_too_large"},
	"an endless error":        {goesOn("-ERR ", "text"), "reply_too_large"},
	"a string of 64 MiB":      {goesOn("$67108864\r\n", "text"), "reply_too_large"},
	"arrays in arrays":        {goesOn("*1\r\n", "arrays"), "reply_too_large"},
	"a list of many nodes":    {goesOn("*1\r\n*40000\r\n:0\r\n:16383\r\n", "nodes"), "reply_too_large"},
	"a byte a second": {func(conn net.Conn) {
		var err error
		for i := 0; err == nil; i++ {
			_, err = conn.Write(endless["elements"][i : i+1])
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			if _, left := conn.Read(make([]byte, 1)); left == io.EOF {
				return
			}
		}
	}, "connection_read_timeout"},
}

// hostileRedis returns the address of a server that answers every command so. If
// greets is true it is harmless until a connection has been set up.
func hostileRedis(t *testing.T, greets bool, send func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
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
				for {
					n, err := conn.Read(command)
					if err != nil {
						return
					}
					if !greets || !bytes.Contains(command[:n], []byte("hello")) {
						send(conn)
						return
					}
					_, _ = io.WriteString(conn, "-ERR unknown command\r\n")
				}
			})
		}
	})
	return l.Addr().String()
}

// TestR5_HugeRepliesCostNoMemory has a Redis, a sentinel and a node of a cluster answer
// with more than there is memory for. Loads go on as they would without a Redis, and
// make hardly any garbage. Without the limits on replies these answers cost hundreds
// of megabytes, or gigabytes.
func TestR5_HugeRepliesCostNoMemory(t *testing.T) {
	for mode, query := range map[string]string{"standalone": "", "sentinel": "?master_name=m", "cluster": ""} {
		for name, c := range hostileReplies {
			for _, greets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/greets %v", mode, name, greets), func(t *testing.T) {
					i := &issuer{life: time.Hour}
					r, _ := i.joinBy(t, shared.Config{Mode: mode,
						URL: upstream.NewSecret("redis://" + hostileRedis(t, greets, c.send) + query)})
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					const loads = 3 // as many as it takes for Redis to be left alone
					for n := range loads {
						if got, want := mustGet(t, r, "alice"+fmt.Sprint(n)), fmt.Sprintf("alice%d-%d", n, n+1); got != want {
							t.Errorf("load %d got %s, want %s", n, got, want)
						}
					}
					runtime.ReadMemStats(&after)
					if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
						t.Errorf("%d loads took %d KiB of memory", loads, grown>>10)
					}
					status := r.config.Shared.Status()
					// go-redis may stumble over the beginning before the limit is met.
					if status.Cause != c.cause && status.Cause != "http_protocol_error" && !strings.HasPrefix(c.cause, "connection") {
						t.Errorf("the cause is called %q, want %q", status.Cause, c.cause)
					}
				})
			}
		}
	}
}
