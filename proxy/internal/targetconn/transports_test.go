package targetconn

import (
	"context"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// newTestTransports returns Transports of a target that nothing is known of.
func newTestTransports() (*Transports, *Protocol) {
	p := NewProtocol(&url.URL{Scheme: "https"})
	return NewTransports(p, func(*atomic.Int64) *http.Transport { return new(http.Transport) }), p
}

// TestOthersWaitForTheFirstRequest: while there is no connection one request opens it, and the others
// wait for it, whether it succeeds or not. If it does not, another one does. The wait ends with the
// context. So it is again when the connection is gone.
func TestOthersWaitForTheFirstRequest(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			all, _ := newTestTransports()
			for range 2 {
				first, asked := all.Take(t.Context())
				var went atomic.Int64
				for range 5 {
					go func() {
						_, asked := all.Take(t.Context())
						asked(!fails)
						went.Add(1)
					}()
				}
				synctest.Wait()
				if n := went.Load(); n != 0 {
					t.Errorf("%d did not wait", n)
				}
				if !fails {
					first.open.Add(1)
				}
				asked(!fails)
				asked(false)
				synctest.Wait()
				if n := went.Load(); n != 5 {
					t.Errorf("%d of 5 went on", n)
				}
				again, asked := all.Take(t.Context())
				if opens := again.asking != nil; opens != fails {
					t.Errorf("after a failure (%t) the next request opens a connection: %t", fails, opens)
				}
				left, leave := context.WithCancel(t.Context())
				leave()
				all.Take(left) // does not block
				asked(false)
				first.open.Store(0)
			}
		})
	}
}

// TestAnotherAsksIfTheFirstLeaves: the app of the request that opens the connection leaves. One of the
// others opens it then, and not each of them.
func TestAnotherAsksIfTheFirstLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, _ := newTestTransports()
		ctx, leave := context.WithCancel(t.Context())
		_, asked := all.Take(ctx)
		var going atomic.Int64
		answers := make(chan bool)
		for range 5 {
			go func() {
				own, asked := all.Take(t.Context())
				going.Add(1)
				<-answers
				own.open.Store(1)
				asked(true)
			}()
		}
		synctest.Wait()
		leave()
		asked(false)
		synctest.Wait()
		if n := going.Load(); n != 1 {
			t.Errorf("%d open a connection", n)
		}
		close(answers)
		synctest.Wait()
		if n := going.Load(); n != 5 {
			t.Errorf("%d of 5 went on", n)
		}
	})
}

// TestNobodyWaitsWhereThereIsRoom: who waits for a connection goes on as soon as there is room on
// another one, however long the first one takes.
func TestNobodyWaitsWhereThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all, p := newTestTransports()
		p.setChosen(true)
		first, asked := all.Take(t.Context())
		first.open.Add(1)
		asked(true)
		for range perTransport - 1 {
			all.Take(t.Context())
		}
		second, _ := all.Take(t.Context()) // whose connection never comes
		got := make(chan *Transport, 2)
		for range 2 {
			go func() {
				t, _ := all.Take(t.Context())
				got <- t
			}()
		}
		synctest.Wait()
		if len(got) > 0 || second == first {
			t.Fatal("a request does not wait")
		}
		for range 2 {
			first.Release()
			synctest.Wait()
			if len(got) == 0 || <-got != first {
				t.Error("a request waits where there is room")
			}
		}
	})
}

// TestTransportsServeAFew: requests have one Transport in common until it serves as many as its
// connection has room for, and again once one of them is done.
func TestTransportsServeAFew(t *testing.T) {
	all, p := newTestTransports()
	p.setChosen(false)
	first, _ := all.Take(t.Context())
	for range perTransport - 1 {
		if more, _ := all.Take(t.Context()); more != first {
			t.Fatal("a request does not share what has room")
		}
	}
	if second, _ := all.Take(t.Context()); second == first {
		t.Errorf("a Transport serves more than %d", perTransport)
	}
	first.Release()
	if again, _ := all.Take(t.Context()); again != first {
		t.Error("what is given back is not used again")
	}
}

// TestRefusalOfHTTP1KeepsTheChoiceOfHTTP2: a target that is known to choose HTTP/2 and then
// refuses HTTP/1.1 alone is not asked again. Of one that chose HTTP/1.1 nothing is known then.
func TestRefusalOfHTTP1KeepsTheChoiceOfHTTP2(t *testing.T) {
	for _, http2 := range []bool{true, false} {
		_, p := newTestTransports()
		p.setChosen(http2)
		p.setRefused()
		if p.known != http2 || p.HTTP1() || !p.RefusesHTTP1() {
			t.Errorf("chose HTTP/2: %t; known: %t, HTTP/1.1: %t, refused: %t", http2, p.known, p.HTTP1(), p.RefusesHTTP1())
		}
	}
}
