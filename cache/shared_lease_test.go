package cache

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"token-sidecar/cache/internal/redistest"
	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// TestDeadHolderIsReplaced has a replica wait until the lease of one that died
// runs out, and not much longer than until its next look at it.
//
// Case E4.
func TestDeadHolderIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		c, _ := (&issuer{life: time.Hour}).joinOn(t, network)
		takeLease(t, network, c, "alice")
		if took := spentBy(t, c, "alice"); took < shared.LeaseTime || took > shared.LeaseTime+maxPoll*3/2 {
			t.Errorf("took over after %s, want the time of the lease", took)
		}
	})
}

// takeLease has a replica take the lease for the token of a subject, and die. It returns
// the name of the lease.
func takeLease(t *testing.T, n *redistest.Network, c *Cache, name string) string {
	t.Helper()
	p := namesOn(t, n, c.config.Shared, name)
	if looked, err := c.config.Shared.Look(t.Context(), placeOf(c.config.Shared, name), shared.Version{}, shared.Want{Lease: true}); err != nil || looked.Lease == nil {
		t.Fatalf("no lease: %v", err)
	}
	return p.lease
}

// setLease stores a lease for the token of a subject and returns its name. It ends
// after ttl, or never if that is zero.
func setLease(t *testing.T, n *redistest.Network, c *Cache, name, owner string, ttl time.Duration) string {
	t.Helper()
	p := namesOn(t, n, c.config.Shared, name)
	if err := n.Redis.Set(p.lease, owner); err != nil {
		t.Fatal(err)
	}
	if ttl != 0 {
		n.Redis.SetTTL(p.lease, ttl)
	}
	return p.lease
}

// TestForeignLeaseIsIgnored has somebody else than a replica make a lease, or set the
// lease of a replica again that was recorded a while ago, or give it another end.
func TestForeignLeaseIsIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		recorded bool
		ago      time.Duration
		ttl      time.Duration
		believed bool
	}{
		"made up":            {false, 0, shared.LeaseTime, false},
		"made up, endless":   {false, 0, 0, false},
		"recorded":           {true, time.Minute, shared.LeaseTime, false},
		"recorded just now":  {true, time.Second, shared.LeaseTime, true},
		"without an end":     {true, time.Second, 0, false},
		"with a distant end": {true, time.Second, shared.LeaseTime + time.Millisecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			network := redistest.NewNetwork(t)
			r, _ := (&issuer{life: time.Hour}).joinOn(t, network)
			owner := string(binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMilli()))) + strings.Repeat("x", 32)
			if c.recorded {
				var err error
				if owner, err = network.Redis.Get(takeLease(t, network, r, "alice")); err != nil {
					t.Fatal(err)
				}
				network.Redis.FlushAll()
				time.Sleep(c.ago)
			}
			setLease(t, network, r, "alice", owner, c.ttl)
			if took := spentBy(t, r, "alice"); (took != 0) != c.believed {
				t.Errorf("%s: it held the request up for %s", name, took)
			}
		})
	}
}

// TestLeaseThatIsKeptUpIsGivenUpOn has a lease renewed for ever, and no token come of it.
func TestLeaseThatIsKeptUpIsGivenUpOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		c, _ := (&issuer{life: time.Hour}).joinOn(t, network)
		lease := takeLease(t, network, c, "alice")
		done := make(chan struct{})
		defer close(done)
		go func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					network.Redis.SetTTL(lease, shared.LeaseTime)
				case <-done:
					return
				}
			}
		}()
		most := shared.LeaseTime + c.config.TokenTimeout
		if took := spentBy(t, c, "alice"); took < most || took > most+maxPoll*3/2 {
			t.Errorf("waited for %s, want %s", took, most)
		}
	})
}

// TestLeaseWhoseAnswerIsLostIsUsed has Redis give a replica the lease and say so
// too late: the token that it fetches alone must be shared all the same, and the
// lease given back.
func TestLeaseWhoseAnswerIsLostIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour}
		slow, _ := i.joinOn(t, network)
		other, _ := i.joinBy(t, shared.Config{URL: upstream.NewSecret("redis://redis.test"),
			Dial: func(context.Context, string, string) (net.Conn, error) { return network.Redis.Dial() }})
		p := namesOn(t, network, slow.config.Shared, "alice")
		for _, c := range []*Cache{other, slow} {
			if got := mustGet(t, c, "alice"); got != "alice-1" {
				t.Fatalf("got %s", got)
			}
			synctest.Wait()
			if !network.Redis.Exists(p.value) || network.Redis.Exists(p.lease) {
				t.Errorf("what stands in Redis after a token request: %v", network.Redis.Keys())
			}
		}
		reject := func(c *Cache) {
			t.Helper()
			bad, _ := c.Token(t.Context(), subject("alice"))
			c.Reject(t.Context(), subject("alice"), bad)
			if got := mustGet(t, c, "alice"); got != "alice-2" {
				t.Errorf("got %s after the rejection", got)
			}
		}
		late, held := holding(shared.LeaseTime * 3 / 4)
		network.Play(late.On(acquires))
		reject(slow)
		synctest.Wait()
		if network.Redis.Exists(p.lease) {
			t.Error("the lease still stands when the token has been stored")
		}
		network.Play(redistest.Fault{})
		if held.Load() == 0 {
			t.Error("Redis gave no lease too late")
		}
		reject(other)
		if n := i.calls.Load(); n != 2 {
			t.Errorf("%d token requests, want the first and one replacement", n)
		}
	})
}

// TestHungRenewalDelaysNobody has Redis answer the renewal of a lease only after
// the token has come.
func TestHungRenewalDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		late, held := holding(shared.LeaseTime * 3 / 4)
		network.Play(late.On(renews))
		i := &issuer{life: time.Hour, delay: shared.LeaseTime/4 + 100*time.Millisecond}
		c, _ := i.joinOn(t, network)
		if took := spentBy(t, c, "alice"); took != i.delay {
			t.Errorf("a token request of %s took %s", i.delay, took)
		}
		if held.Load() == 0 {
			t.Error("Redis answered no renewal late")
		}
	})
}

// TestLeaseIsRenewed has a token request take much longer than a lease stands. Others
// wait for it all the while.
func TestLeaseIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := redistest.NewNetwork(t)
		i := &issuer{life: time.Hour, delay: 4 * shared.LeaseTime}
		holder, _ := i.joinOn(t, network)
		other, _ := i.joinOn(t, network)
		go func() { _, _ = holder.Token(t.Context(), subject("alice")) }()
		synctest.Wait()
		if took := spentBy(t, other, "alice"); took < i.delay || took > i.delay+maxPoll*3/2 {
			t.Errorf("the other one had the token after %s, want %s", took, i.delay)
		}
		if n := i.calls.Load(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
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

// holding returns a Fault that holds replies back for so long, and how many it held.
func holding(d time.Duration) (redistest.Fault, *atomic.Int32) {
	held := &atomic.Int32{}
	slow := redistest.Slow(d)
	return redistest.Fault{Reply: func(client io.Writer, command string, reply []byte) error {
		held.Add(1)
		return slow.Reply(client, command, reply)
	}}, held
}
