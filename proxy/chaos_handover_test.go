package proxy

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// conversations are pipelined requests with one that is not plain, or whose body does not fit: from
// there on net/http serves the connection.
func conversations(id string) map[string][]ask {
	asks := func(middle ask) []ask {
		return []ask{newAsk("PUT", "/alpha/x", "first-"+id, "body"), middle, newAsk("POST", "/alpha/x", "third-"+id, "more"), newAsk("GET", "/alpha/x", "fourth-"+id, "")}
	}
	expecting := newAsk("PUT", "/alpha/x", "second-"+id, "body", "Expect: 100-continue")
	return map[string][]ask{
		"odd name": asks(newAsk("GET", "/alpha/x", "second-"+id, "", "X_Odd: 1")),
		"expects":  asks(expecting),
		"chunked":  asks(newAsk("GET", "/alpha/x", "second-"+id, ""))[:3],
		"method":   asks(newAsk("PROPFIND", "/alpha/x", "second-"+id, "body")),
		"plain":    asks(newAsk("HEAD", "/alpha/x", "second-"+id, "")),
	}
}

// TestChaosHandOverLosesAndDoublesNothing splits a conversation at every other byte, with
// a rest that comes at once, while a body is waited for, and later. All requests are answered, and arrive once.
func TestChaosHandOverLosesAndDoublesNothing(t *testing.T) {
	eitherWay(t)
	for kind := range conversations("") {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSide(t, setup{pipes: &pipes{}})
				s.up.play(echo)
				want := 0
				for cut := len(kind) % 2; ; cut += 4 / many(2) {
					asks := conversations(fmt.Sprint(cut))[kind]
					if kind == "chunked" {
						asks = append(asks, newChunkedAsk("POST", "/alpha/x", fmt.Sprint("last-", cut), "body in chunks", 6))
					}
					text := sent(asks, map[string]int{})
					if cut >= len(text) {
						break
					}
					want += len(asks)
					c := s.dial(s.addr)
					go func() {
						c.write(text[:cut])
						time.Sleep([]time.Duration{0, leanGrace / 2, 2 * leanGrace}[cut/4%3])
						c.write(text[cut:])
					}()
					for _, a := range asks {
						if wrong := a.wrong(c.read(a.method)); wrong != "" {
							t.Fatalf("split behind %d bytes: %s", cut, wrong)
						}
					}
					_ = c.Close()
					synctest.Wait()
				}
				if n := len(s.up.requests()); n != want {
					t.Errorf("the target saw %d requests, want %d", n, want)
				}
			})
		})
	}
}

// TestChaosPipeliningOverTLS has apps send many requests at once over TLS, in pieces that are no
// records' borders, and leave with a farewell and without.
func TestChaosPipeliningOverTLS(t *testing.T) {
	eitherWay(t)
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	t.Cleanup(donor.Close)
	s := newSide(t, setup{})
	s.up.play(echo)
	l := listen(t)
	server := NewServer(s.proxy.Handler())
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l, &tls.Config{Certificates: donor.TLS.Certificates}) }()
	random := rand.New(rand.NewPCG(5, 5))
	for n := range many(4) {
		raw := dialRaw(t, l.Addr().String())
		c := tls.Client(raw.Conn, &tls.Config{InsecureSkipVerify: true})
		asks := mixedAsks(fmt.Sprint("tls", n), random)[n*10:]
		text := sent(asks, map[string]int{})
		go writeInPieces(c, text, rand.New(rand.NewPCG(6, uint64(n))))
		app := rawOn(t, c)
		for i, a := range asks {
			if wrong := a.wrong(app.read(a.method)); wrong != "" {
				t.Fatalf("request %d: %.200s", i, wrong)
			}
		}
		if n%2 == 0 {
			_ = raw.Close() // without the farewell of TLS
		}
		_ = c.Close()
	}
	s.atRest(t, server, 0)
	if err := server.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-served
}

// TestChaosRefusedHEADsHaveNoBody: what follows the head of the answer is that to the next request.
func TestChaosRefusedHEADsHaveNoBody(t *testing.T) {
	s := newSide(t, setup{})
	s.up.play(echo)
	next := newAsk("GET", "/alpha/x", "next", "")
	c := dialRaw(t, s.addr)
	for range 3 {
		c.write(newAsk("HEAD", "/none/x", "refused", "").text + next.text)
		if a := c.read("HEAD"); a.status != 404 || a.body != "" || a.length <= 0 || a.close {
			t.Errorf("%d %q of %d bytes, to be closed: %t, %v", a.status, a.body, a.length, a.close, a.err)
		}
		if wrong := next.wrong(c.read("GET")); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestChaosRefusalsKeepTheFraming has refused requests with bodies on a connection: a body that is
// here is taken away with its request, and one that is not ends the connection. Never is it read as
// the next request.
func TestChaosRefusalsKeepTheFraming(t *testing.T) {
	inner := newAsk("GET", "/alpha/smuggled", "smuggled", "").text
	refused := newAsk("POST", "/none/x", "refused", inner)
	next := newAsk("GET", "/alpha/x", "next", "")
	lean := leanWay() // net/http closes whatever has come
	for _, cut := range []int{len(refused.text), len(refused.text) - 1, len(refused.text) - len(inner), len(refused.text) - len(inner) + 1} {
		synctest.Test(t, func(t *testing.T) {
			s := newSide(t, setup{pipes: &pipes{}})
			s.up.play(echo)
			c := s.dial(s.addr)
			var all sync.WaitGroup
			defer all.Wait()
			all.Go(func() {
				c.write(refused.text[:cut])
				time.Sleep(time.Second)
				c.write(refused.text[cut:] + next.text)
			})
			a := c.read("POST")
			a.problem(t, 404, "unknown_route")
			if lives := lean && cut == len(refused.text); a.close == lives {
				t.Errorf("%d bytes of %d: to be closed %t", cut, len(refused.text), a.close)
			} else if rest := c.read("GET"); lives && next.wrong(rest) != "" || !lives && rest.err == nil {
				t.Errorf("%d bytes of %d, and then %d %q", cut, len(refused.text), rest.status, rest.body)
			}
			for _, r := range s.up.requests() {
				if !strings.HasPrefix(r.target, "/x") {
					t.Errorf("the target saw %q", r.head)
				}
			}
		})
	}
}

// TestChaosLongHeadsHaveNoMoreTime: the time for a head is that of all of it, also if it is longer
// than a leanConn's buffer, so that net/http goes on with it.
func TestChaosLongHeadsHaveNoMoreTime(t *testing.T) {
	eitherWay(t)

	synctest.Test(t, func(t *testing.T) {
		s := newSide(t, setup{pipes: &pipes{}})
		c := s.dial(s.addr)
		text := newAsk("GET", "/alpha/x", "1", "").fillTo(6000).text
		began := time.Now()
		go func() {
			for rest := text; rest != ""; rest = rest[min(len(rest), 500):] {
				c.write(rest[:min(len(rest), 500)])
				time.Sleep(1100 * time.Millisecond)
			}
		}()
		if a := c.read("GET"); a.status != 408 || time.Since(began) != headTime {
			t.Errorf("%d %v after %v", a.status, a.err, time.Since(began))
		}
		_ = c.Close()
		time.Sleep(10 * time.Second)
	})
}
