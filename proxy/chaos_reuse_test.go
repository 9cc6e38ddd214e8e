package proxy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// kindOfAnswer is an answer of a target with what the app is to get of it.
type kindOfAnswer struct {
	method string
	says   string // with %[1]s for the id
	status int
	fields []string // what the app gets of fields that begin with X-, with %[1]s
	body   string
	ends   bool // the target's connection ends
}

// kindsOfAnswers leave different things in what a connection uses again.
var kindsOfAnswers = []kindOfAnswer{
	{"GET", "HTTP/1.1 200 OK\r\nX-A-%[1]s: 1\r\nContent-Length: 5\r\n\r\nplain", 200, []string{"X-A-%[1]s"}, "plain", false},
	{"GET", "HTTP/1.1 200 OK\r\nX-B-%[1]s: 1\r\nX-B-%[1]s: 2\r\nContent-Length: 0\r\n\r\n", 200, []string{"X-B-%[1]s", "X-B-%[1]s"}, "", false},
	{"PUT", "HTTP/1.1 204 No Content\r\nX-C-%[1]s: 1\r\n\r\n", 204, []string{"X-C-%[1]s"}, "", false},
	{"GET", "HTTP/1.1 304 Not Modified\r\nX-D-%[1]s: 1\r\nETag: \"d\"\r\nContent-Length: 9\r\n\r\n", 304, []string{"X-D-%[1]s"}, "", false},
	{"HEAD", "HTTP/1.1 200 OK\r\nX-E-%[1]s: 1\r\nContent-Length: 1000\r\n\r\n", 200, []string{"X-E-%[1]s"}, "", false},
	{"HEAD", "HTTP/1.1 200 OK\r\nX-F-%[1]s: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 200, []string{"X-F-%[1]s"}, "", false},
	{"GET", "HTTP/1.1 103 Early Hints\r\nX-Hint-%[1]s: 1\r\n\r\nHTTP/1.1 200 OK\r\nX-G-%[1]s: 1\r\nContent-Length: 2\r\n\r\nok", 200, []string{"X-G-%[1]s"}, "ok", false},
	{"GET", "HTTP/1.1 200 OK\r\nX-H-%[1]s: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T-%[1]s: 1\r\n\r\n", 200, []string{"X-H-%[1]s"}, "abc", false},
	{"POST", "HTTP/1.1 500 Oh\r\nX-I-%[1]s: 1\r\nConnection: X-No-%[1]s\r\nX-No-%[1]s: 1\r\nContent-Length: 2\r\n\r\nno", 500, []string{"X-I-%[1]s"}, "no", false},
	{"GET", "HTTP/1.1 200 OK\r\nX-J-%[1]s: 1\r\nConnection: close\r\nContent-Length: 3\r\n\r\nend", 200, []string{"X-J-%[1]s"}, "end", true},
	{"GET", "HTTP/1.1 299 \r\nX-K-%[1]s: 1\r\nX-Long: " + strings.Repeat("k", 40_000) + "\r\nContent-Length: 1\r\n\r\nk", 299, []string{"X-K-%[1]s", "X-Long"}, "k", false},
	{"GET", "HTTP/1.1 200 OK\r\nX-L-%[1]s: 1\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("l", 50_000), 200, []string{"X-L-%[1]s"}, strings.Repeat("l", 50_000), false},
	{"GET", "HTTP/1.1 200 OK\r\nX-M-%[1]s: 1\r\nContent-Length: 1\r\n" + strings.Repeat("Y-Many: 1\r\nY-%[1]s: 2\r\n", 60) + "\r\nm", 200, []string{"X-M-%[1]s"}, "m", false},
}

// TestChaosAnswersKeepNothingOfOthers has answers of all kinds come one after the other in any
// order, over the same connections. Each has its own fields and body, and no other.
func TestChaosAnswersKeepNothingOfOthers(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.readBody()
		var n int
		id := strings.TrimPrefix(r.target, "/")
		_, _ = fmt.Sscanf(id[strings.IndexByte(id, '-')+1:], "%d", &n)
		if got := r.header("x-mine"); len(got) != n%3+1 || slices.ContainsFunc(got, func(v string) bool { return v != id }) {
			t.Errorf("%s came with %q", id, got)
		}
		k := kindsOfAnswers[n%len(kindsOfAnswers)]
		r.say(fmt.Sprintf(k.says, id))
		return !k.ends
	})
	var all sync.WaitGroup
	for caller := range many(8) {
		all.Go(func() {
			random := rand.New(rand.NewPCG(7, uint64(caller)))
			c := dialRaw(t, s.addr)
			for i := range 60 {
				n := random.IntN(1 << 20)
				k, id := kindsOfAnswers[n%len(kindsOfAnswers)], fmt.Sprintf("c%di%d-%d", caller, i, n)
				lines := slices.Repeat([]string{"X-Mine: " + id}, n%3+1)
				c.write(newAsk(k.method, "/alpha/"+id, "1", strings.Repeat("b", n%7), lines...).text)
				if wrong := k.wrong(id, c.read(k.method)); wrong != "" {
					t.Errorf("%s: %s", id, wrong)
					return
				}
			}
		})
	}
	all.Wait()
	s.trusted(t)
}

// wrong returns what is wrong with the answer to the request id, "" if nothing is.
func (k kindOfAnswer) wrong(id string, a answer) string {
	if a.err != nil || a.broken != nil || a.close || a.status != k.status || a.body != k.body {
		return fmt.Sprintf("%d %.100q, to be closed: %t, %v %v", a.status, a.body, a.close, a.err, a.broken)
	}
	var got, want []string
	for name, values := range a.header {
		if strings.HasPrefix(name, "X-") {
			got = append(got, slices.Repeat([]string{strings.ToLower(name)}, len(values))...)
		}
	}
	for _, field := range k.fields {
		want = append(want, strings.ToLower(strings.ReplaceAll(field, "%[1]s", id)))
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		return fmt.Sprintf("the fields are %q, want %q", got, want)
	}
	if trailers := slices.Collect(maps.Keys(a.trailer)); len(trailers) > 1 || len(trailers) == 1 && !strings.EqualFold(trailers[0], "X-T-"+id) {
		return fmt.Sprintf("the trailers are %q", trailers)
	}
	return ""
}

// TestChaosBodiesStayWhatTheyAreUntilTheyAreSentAgain: while the target takes its time to refuse the
// token, the app sends its next requests. The body that is sent again is the same.
func TestChaosBodiesStayWhatTheyAreUntilTheyAreSentAgain(t *testing.T) {
	for _, size := range []int{1, 100, 3900} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(func(r *upRequest) bool {
				r.readBody()
				if r.n == 1 {
					time.Sleep(3 * halfCloseTime)
					r.say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
					return true
				}
				return echo(r)
			})
			c := s.dial(s.addr)
			asks := []ask{newAsk("PUT", "/alpha/x", "first", strings.Repeat("1", size)), newAsk("PUT", "/alpha/x", "second", strings.Repeat("2", size)),
				newAsk("GET", "/alpha/x", "third", "")}
			go func() {
				for _, a := range asks {
					c.write(a.text)
					time.Sleep(2 * halfCloseTime)
				}
			}()
			for _, a := range asks {
				if wrong := a.wrong(c.read(a.method)); wrong != "" {
					t.Errorf("%d bytes: %s", size, wrong)
				}
			}
			if n := len(s.up.requests()); n != 4 {
				t.Errorf("%d bytes: the target saw %d requests", size, n)
			}
			time.Sleep(time.Second)
		})
	}
}

// TestChaosConnectionCloseEndsTheConnection writes requests behind one that asks for the end, in
// some spellings. They are not served.
func TestChaosConnectionCloseEndsTheConnection(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	behind := newAsk("GET", "/alpha/x", "behind", "").text
	for i, lines := range [][]string{{"Connection: close"}, {"connection: Close"}, {"Connection: keep-alive, CLOSE"}, {"Connection: ,close ,"},
		{"Connection: keep-alive", "Connection: close"}, {"Connection: close", "X_Odd: 1"}, {"Connection:\tclose\t"}} {
		for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS"} {
			a := newAsk(method, "/alpha/x", fmt.Sprint("first-", i), strings.Repeat("b", len(method)%3), lines...)
			a.last = true
			c := dialRaw(t, s.addr)
			c.write(a.text + behind)
			if wrong := a.wrong(c.read(method)); wrong != "" || !c.closed() {
				t.Errorf("%q: %s", lines, wrong)
			}
		}
	}
	for _, r := range s.up.requests() {
		if slices.Contains(r.header("x-id"), "behind") {
			t.Error("a request behind the last one was served")
		}
	}
}

// TestChaosNominatedLengthsDoNoHarm has a target name Content-Length in Connection, so that the
// sidecar takes the field away and sends the body in chunks.
func TestChaosNominatedLengthsDoNoHarm(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		r.readBody()
		says := echoed(r.method, r.header("x-id")[0], r.body)
		r.say(fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: %d\r\nConnection: content-length\r\nX-A: b\r\nX-C: d\r\n\r\n%s", r.header("x-id")[0], len(says), says))
		return true
	})
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			c := dialRaw(t, s.addr)
			for i := range 150 {
				id := fmt.Sprintf("n%d-%d", n, i)
				c.write(newAsk("GET", "/alpha/x", id, "").text)
				if a := c.read("GET"); a.status != 200 || a.body != echoed("GET", id, "") || a.header.Get("X-Id") != id {
					t.Errorf("%d %q %v %v", a.status, a.body, a.err, a.broken)
					return
				}
			}
		})
	}
	all.Wait()
}
