package cache

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

func TestE4_DeadHolderIsReplaced(t *testing.T) {
	url, client := redistest.Start(t)
	i := &issuer{life: time.Hour}
	c, _ := i.join(t, url)
	p := namesOf(t, client, c.config.Shared, "alice")
	client.Set(t.Context(), p.lease, "somebody who died", shared.LeaseTime)
	began := time.Now()
	mustGet(t, c, "alice")
	if took := time.Since(began); took < shared.LeaseTime/2 || took > shared.LeaseTime+500*time.Millisecond {
		t.Errorf("took over after %s, want the time of the lease", took)
	}
}

func TestEndlessLeaseIsIgnored(t *testing.T) {
	url, client := redistest.Start(t)
	for name, ttl := range map[string]time.Duration{"none": 0, "an-hour": time.Hour} {
		i := &issuer{life: time.Hour}
		c, _ := i.join(t, url)
		p := namesOf(t, client, c.config.Shared, name)
		client.Set(t.Context(), p.lease, "an attacker", ttl)
		began := time.Now()
		mustGet(t, c, name)
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Errorf("a lease with an end of %s held the request up for %s", name, took)
		}
	}
}

// TestLeaseWhoseAnswerIsLostIsUsed has Redis give a replica the lease and say so
// too late: the token that it fetches alone must be shared all the same, and the
// lease given back.
func TestLeaseWhoseAnswerIsLostIsUsed(t *testing.T) {
	url, client := redistest.Start(t)
	i := &issuer{life: time.Hour}
	var late atomic.Bool
	relay, held := answerLate(t, url, acquires, &late)
	slow, _ := i.joinBy(t, shared.Config{URL: upstream.NewSecret(relay), Timeout: shared.LeaseTime / 2})
	other, _ := i.join(t, url)
	p := namesOf(t, client, slow.config.Shared, "alice")
	for _, c := range []*Cache{other, slow} {
		if got := mustGet(t, c, "alice"); got != "alice-1" {
			t.Fatalf("got %s", got)
		}
		eventually(t, "the token is shared and no lease stands", func() bool {
			return client.Exists(t.Context(), p.value).Val() == 1 && client.Exists(t.Context(), p.lease).Val() == 0
		})
	}
	reject := func(c *Cache) {
		t.Helper()
		bad, _ := c.Token(t.Context(), subject("alice"))
		c.Reject(t.Context(), subject("alice"), bad)
		if got := mustGet(t, c, "alice"); got != "alice-2" {
			t.Errorf("got %s after the rejection", got)
		}
	}
	late.Store(true)
	reject(slow)
	late.Store(false)
	if held.Load() == 0 {
		t.Error("Redis gave no lease too late")
	}
	reject(other)
	if n := i.calls.Load(); n != 2 {
		t.Errorf("%d token requests, want the first and one replacement", n)
	}
}

// TestHungRenewalDelaysNobody has Redis answer the renewal of a lease only after
// the token has come.
func TestHungRenewalDelaysNobody(t *testing.T) {
	url, _ := redistest.Start(t)
	i := &issuer{life: time.Hour, delay: shared.LeaseTime/4 + 100*time.Millisecond}
	var late atomic.Bool
	late.Store(true)
	relay, held := answerLate(t, url, renews, &late)
	c, _ := i.join(t, relay)
	began := time.Now()
	mustGet(t, c, "alice")
	if took := time.Since(began); took > i.delay+shared.LeaseTime/4 {
		t.Errorf("a token request of %s took %s", i.delay, took)
	}
	if held.Load() == 0 {
		t.Error("Redis answered no renewal late")
	}
}

// setsLease reports whether a command to Redis runs a script that is told the time
// of a lease. There are two: the one that takes a lease reads the token too.
func setsLease(command string) bool {
	return strings.Contains(command, "evalsha\r\n") &&
		strings.Contains(command, fmt.Sprintf("\r\n%d\r\n", shared.LeaseTime.Milliseconds()))
}

func acquires(command string) bool {
	return setsLease(command) && strings.Contains(command, ":token\r\n")
}

func renews(command string) bool {
	return setsLease(command) && !strings.Contains(command, ":token\r\n")
}

// answerLate relays to the Redis at url. While late is set, what follows a command
// that matches is answered after three quarters of the time of a lease; held counts
// those answers.
func answerLate(t *testing.T, url string, matches func(command string) bool, late *atomic.Bool) (relayed string, held *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	held = &atomic.Int32{}
	var all sync.WaitGroup
	relay := func(client net.Conn) {
		server, err := net.Dial("tcp", strings.TrimPrefix(url, "redis://"))
		if err != nil {
			_ = client.Close()
			return
		}
		var hold atomic.Bool
		pass := func(to, from net.Conn, before func([]byte)) func() {
			return func() {
				defer to.Close()
				defer from.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := from.Read(buffer)
					before(buffer[:n])
					if _, writeErr := to.Write(buffer[:n]); err != nil || writeErr != nil {
						return
					}
				}
			}
		}
		all.Go(pass(server, client, func(command []byte) {
			if late.Load() && matches(string(command)) {
				hold.Store(true)
			}
		}))
		all.Go(pass(client, server, func([]byte) {
			if hold.Swap(false) {
				held.Add(1)
				time.Sleep(shared.LeaseTime * 3 / 4)
			}
		}))
	}
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			relay(client)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return "redis://" + l.Addr().String(), held
}
