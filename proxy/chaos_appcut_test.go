package proxy

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// cutRequests are what apps send that are cut off, by a name of their own. Each has the ids of
// whole requests with how much must have been sent for them to be whole.
func cutRequests(id string) map[string][]ask {
	return map[string][]ask{
		"get":     {newAsk("GET", "/alpha/x", "get-"+id, "")},
		"post":    {newAsk("POST", "/alpha/x", "post-"+id, "body")},
		"chunked": {newChunkedAsk("POST", "/alpha/x", "chunked-"+id, "body", 3)},
		"pair":    {newAsk("PUT", "/alpha/x", "first-"+id, "body"), newAsk("GET", "/alpha/x", "second-"+id, "")},
	}
}

// sent returns what the app sends for asks, and for each id after how many bytes it is whole.
func sent(asks []ask, whole map[string]int) (text string) {
	for _, a := range asks {
		text += a.text
		whole[a.id] = len(text)
	}
	return text
}

// sawNothingElse fails the test if the target saw a whole request of which the app did not send
// all. cuts are by the ends of ids.
func (s *side) sawNothingElse(t *testing.T, whole map[string]int) {
	t.Helper()
	s.up.close() // so that nobody else looks at the requests
	seen := 0
	for _, r := range s.up.requests() {
		id := strings.Join(r.header("x-id"), "+")
		if strings.HasPrefix(id, "beside") || !r.bodyOK {
			continue
		}
		var cut int
		_, _ = fmt.Sscanf(id[strings.LastIndexByte(id, '-')+1:], "%d", &cut)
		if needs, known := whole[id]; !known || cut < needs {
			t.Errorf("the target saw %q whole, of which the app sent %d of %d bytes", r.lines, cut, needs)
		}
		seen++
	}
	if seen == 0 {
		t.Error("no request came whole")
	}
}

// TestChaosCutRequestsNeverArriveWhole cuts the connections of apps after each byte of what they
// send, by an end and by a reset that come together with it. Nothing is left behind, and others are
// served beside.
func TestChaosCutRequestsNeverArriveWhole(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	addr, server := s.serve(s.proxy.Handler())
	stop := s.beside(t, addr)
	whole := map[string]int{}
	for _, reset := range []bool{false, true} {
		for kind := range cutRequests("") {
			for cut := 0; ; cut++ {
				text := sent(cutRequests(fmt.Sprintf("%t-%03d", reset, cut))[kind], whole)
				if cut > len(text) {
					break
				}
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = c.Write([]byte(text[:cut]))
				if reset {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				_ = c.Close()
			}
		}
	}
	stop()
	s.atRest(t, server, 2) // those of others
	s.sawNothingElse(t, whole)
}

// TestChaosCutsBehindWhatWasReadLeaveNothing cuts after each byte, once all before it was read and
// the sidecar waits for more. It knows at once, and all is let go as soon as an app cannot come
// back to its answer.
func TestChaosCutsBehindWhatWasReadLeaveNothing(t *testing.T) {
	for kind := range cutRequests("") {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}})
				s.up.play(echo)
				addr, server := s.serve(s.proxy.Handler())
				whole := map[string]int{}
				for cut := 0; ; cut++ {
					text := sent(cutRequests(fmt.Sprintf("%03d", cut))[kind], whole)
					if cut > len(text) {
						break
					}
					c := s.dial(addr)
					go c.write(text[:cut])
					go func() { _, _ = io.Copy(io.Discard, c) }() // else the sidecar waits with an answer
					synctest.Wait()
					_ = c.Close()
					time.Sleep(chunkTime + lingerTime)
					if s.letGo(t, server); t.Failed() {
						t.Fatalf("after %d bytes", cut)
					}
				}
				s.sawNothingElse(t, whole)
			})
		})
	}
}
