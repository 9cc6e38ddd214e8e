package proxy

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// atOnce fails the test unless another app is answered in no time.
func (s *side) atOnce(t *testing.T, id string) {
	t.Helper()
	began := time.Now()
	c := s.dial(s.addr)
	defer c.Close()
	a := newAsk("PUT", "/alpha/x", id, "body")
	c.write(a.text)
	if wrong := a.wrong(c.read(a.method)); wrong != "" || time.Since(began) != 0 {
		t.Errorf("beside: %s after %v", wrong, time.Since(began))
	}
}

// TestChaosRequestsMayComeAByteAtATime has apps send each byte of their requests by itself, in
// steps that are shorter and longer than a body is waited for, over one connection each.
func TestChaosRequestsMayComeAByteAtATime(t *testing.T) {
	for _, step := range []time.Duration{time.Millisecond, leanGrace, 70 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(echo)
			var all sync.WaitGroup
			for n := range 8 {
				all.Go(func() {
					c := s.dial(s.addr)
					id := func(i int) string { return fmt.Sprintf("n%d-%d", n, i) }
					asks := []ask{newAsk("GET", "/alpha/x", id(1), ""), newAsk("HEAD", "/alpha/x", id(2), ""), newAsk("PUT", "/alpha/x", id(3), "small body"),
						newAsk("POST", "/alpha/x", id(4), strings.Repeat("p", 60)), newAsk("GET", "/alpha/x", id(5), "", "X_Odd: 1"),
						newAsk("GET", "/alpha/x", id(6), ""), newChunkedAsk("POST", "/alpha/x", id(7), "body in chunks", 5)}
					for _, a := range asks[n%2:] {
						go func() {
							for i := range len(a.text) {
								c.write(a.text[i : i+1])
								time.Sleep(step)
							}
						}()
						if wrong := a.wrong(c.read(a.method)); wrong != "" {
							t.Errorf("a byte each %v: %s", step, wrong)
							return
						}
						time.Sleep(step)
					}
				})
			}
			s.atOnce(t, "beside")
			all.Wait()
		})
	}
}

// TestChaosSlowReadersCostNoMemory has an app read a MiB slowly. The target cannot send more of it
// than the app has taken and a buffer holds, however the answer is framed, and others go on.
func TestChaosSlowReadersCostNoMemory(t *testing.T) {
	const size, ahead = 1 << 20, 128 << 10
	for _, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n", size), "Transfer-Encoding: chunked\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			var written atomic.Int64
			s.up.play(func(r *upRequest) bool {
				if r.target != "/large" {
					return echo(r)
				}
				sayLarge(r, size, framing, &written)
				return true
			})
			c := s.dial(s.addr)
			c.write("GET /alpha/large" + stalledHead + "\r\n")
			res, err := http.ReadResponse(c.br, nil)
			if err != nil {
				t.Fatal(err)
			}
			for read := int64(0); read < size; read += 32 << 10 {
				time.Sleep(time.Minute)
				synctest.Wait()
				if now := written.Load(); now > read+ahead {
					t.Fatalf("the target has sent %d bytes of which the app has read %d", now, read)
				}
				if n, err := io.CopyN(io.Discard, res.Body, 32<<10); err != nil {
					t.Fatalf("%d bytes and %v behind %d", n, err, read)
				}
				s.atOnce(t, fmt.Sprint("beside-", read))
			}
			if more, err := io.ReadAll(res.Body); len(more) != 0 || err != nil {
				t.Errorf("%d bytes more, %v", len(more), err)
			}
			next := newAsk("GET", "/alpha/x", "next", "")
			c.write(next.text)
			if wrong := next.wrong(c.read("GET")); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// sayLarge answers with a body of size bytes, a KiB at a time, and counts those that were taken.
func sayLarge(r *upRequest, size int64, framing string, written *atomic.Int64) {
	part, end := strings.Repeat("m", 1<<10), ""
	if strings.HasPrefix(framing, "Transfer") {
		part, end = fmt.Sprintf("%x\r\n%s\r\n", 1<<10, part), "0\r\n\r\n"
	}
	r.say("HTTP/1.1 200 OK\r\n" + framing + "\r\n")
	for ; written.Load() < size; written.Add(1 << 10) {
		r.say(part)
	}
	if end != "" { // a pipe makes even an empty write wait for a reader
		r.say(end)
	}
}

// TestChaosAnswersMayComeAByteAtATime has a target send each byte of its answers by itself. All of
// them come, and others are answered at once.
func TestChaosAnswersMayComeAByteAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const step = 50 * time.Millisecond
		s := newSide(t, setup{pipes: &pipes{}})
		s.up.play(func(r *upRequest) bool {
			form := strings.TrimPrefix(r.target, "/")
			if cutAnswers[form] == nil {
				return echo(r)
			}
			text, _ := cutAnswers[form](r.header("x-id")[0])
			for i := range len(text) {
				time.Sleep(step)
				r.say(text[i : i+1])
			}
			return true
		})
		var all sync.WaitGroup
		for form, answer := range cutAnswers {
			all.Go(func() {
				c := s.dial(s.addr)
				for i := range 3 {
					id, began := fmt.Sprintf("%s-%d", form, i), time.Now()
					c.write("GET /alpha/" + form + stalledHead + "X-Id: " + id + "\r\n\r\n")
					a := c.read("GET")
					text, body := answer(id)
					if want := time.Duration(len(text)) * step; a.status != 200 || a.body != body || a.broken != nil || time.Since(began) != want {
						t.Errorf("%s: %d %q %v after %v, want %v", id, a.status, a.body, a.broken, time.Since(began), want)
					}
				}
			})
		}
		for i := range 10 {
			time.Sleep(time.Second)
			s.atOnce(t, fmt.Sprint("beside-", i))
		}
		all.Wait()
	})
}
