package fleet

import (
	"fmt"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// forgery is one way to put something in the place of a shared token that no
// replica stored there.
type forgery struct {
	name  string
	plant func(t *testing.T, server *redisServer, at string)
}

// TestForgedValuesAreReplaced has one replica share tokens, spoils them, and
// asks a second replica, which has nothing in memory, and then a third.
//
// Cases D4, D6.
func TestForgedValuesAreReplaced(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	server := startRedis(t)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+server.URL())
	forgeries := append(spoiled(), foreign(f, server)...)
	first := f.start()
	places := map[string]string{}
	for _, forged := range forgeries {
		places[forged.name] = server.nameOf(func() { first.mustAsk(t, forged.name) })
	}
	spoilt := map[string]string{}
	asked := map[string]int{} // token requests by subject, some of them for what is planted
	for _, forged := range forgeries {
		forged.plant(t, server, places[forged.name])
		spoilt[forged.name] = server.Client.Dump(t.Context(), places[forged.name]).Val()
		asked[forged.name] = p.TokenRequestsFor(forged.name)
	}
	second := f.start()
	for _, forged := range forgeries {
		before := invalid(t, second)
		a := second.mustAsk(t, forged.name)
		if n := p.TokenRequestsFor(forged.name); a.client != clientID+"/"+clientSecret || a.serial != n || n != asked[forged.name]+1 {
			t.Errorf("%s: got token %d of %s after %d token requests, want one more than %d", forged.name, a.serial, a.client, n, asked[forged.name])
		}
		if n := invalid(t, second) - before; n == 0 {
			t.Errorf("%s: not counted", forged.name)
		}
		testkit.Eventually(t, forged.name+" is replaced", func() error {
			if server.Client.Dump(t.Context(), places[forged.name]).Val() == spoilt[forged.name] {
				return fmt.Errorf("it is still there")
			}
			return nil
		})
	}
	third := f.start()
	for _, forged := range forgeries {
		a, want := third.mustAsk(t, forged.name), asked[forged.name]+1
		if n := p.TokenRequestsFor(forged.name); a.serial != want || n != want {
			t.Errorf("%s: the third replica got token %d after %d token requests, want the one that the second got, %d", forged.name, a.serial, n, want)
		}
	}
	checkTarget(t, p)
}

func invalid(t *testing.T, r *replica) float64 {
	t.Helper()
	return r.scrape(t).sum("redis_operations_total", `outcome="invalid"`)
}

// set plants a value of an hour.
func set(value func(old []byte) []byte) func(*testing.T, *redisServer, string) {
	return func(t *testing.T, server *redisServer, at string) {
		t.Helper()
		old := []byte(server.Client.Get(t.Context(), at).Val())
		server.do("set", at, value(old), "px", time.Hour.Milliseconds())
	}
}

// spoiled are made of the value itself, or of nothing.
func spoiled() []forgery {
	list := []forgery{
		{"truncated-by-one", set(func(old []byte) []byte { return old[:len(old)-1] })},
		{"truncated-to-half", set(func(old []byte) []byte { return old[:len(old)/2] })},
		{"truncated-to-one", set(func(old []byte) []byte { return old[:1] })},
		{"appended", set(func(old []byte) []byte { return append(old, 0) })},
		{"huge", set(func(old []byte) []byte { return append(old, make([]byte, 1<<20)...) })},
		{"text", set(func([]byte) []byte { return []byte(`{"access_token":"forged"}`) })},
		{"without-end", func(t *testing.T, s *redisServer, at string) { s.do("persist", at) }},
	}
	// Version, length and id of the key, nonce, text, tag.
	for i, position := range []int{0, 1, 2, 5, 40, -1} {
		list = append(list, forgery{fmt.Sprint("bit-flipped-", i), set(func(old []byte) []byte {
			old[(position+len(old))%len(old)] ^= 1 << i
			return old
		})})
	}
	for kind, args := range map[string][]any{"list": {"rpush", "x"}, "set": {"sadd", "x"}, "hash": {"hset", "x", "y"},
		"sorted-set": {"zadd", 1, "x"}, "stream": {"xadd", "*", "x", "y"}} {
		list = append(list, forgery{"type-" + kind, func(t *testing.T, s *redisServer, at string) {
			s.do("del", at)
			s.do(append([]any{args[0], at}, args[1:]...)...)
			s.do("expire", at, 3600)
		}})
	}
	return list
}

// foreign are good values of another place: each is the token of another
// subject, key or environment.
func foreign(f *fleet, server *redisServer) []forgery {
	// copied takes the value that a replica with the settings stores for subject.
	copied := func(subject string, environ ...string) func(*testing.T, *redisServer, string) {
		return func(t *testing.T, _ *redisServer, at string) {
			r := f.start(environ...)
			from := server.nameOf(func() {
				if a := r.ask(subject); a.key != subject {
					t.Error(a.mine(subject))
				}
			})
			server.do("copy", from, at, "replace")
			server.do("del", from)
			r.kill()
		}
	}
	other := "SIDECAR_REDIS_KEYS=a:MDEyMzQ1Njc4OUFCQ0RFRmFiY2RlZmdoaWprbG1ub+8="
	return []forgery{
		{"copied", copied("somebody-else")},
		{"of-an-old-key", copied("of-an-old-key", "SIDECAR_REDIS_KEYS="+ring("b"))},
		{"of-another-key-of-the-same-id", copied("of-another-key-of-the-same-id", other)},
		{"of-another-secret", copied("of-another-secret", "SIDECAR_HUMANAPI_CLIENT_SECRET="+staging.secret)},
		{"of-another-client", copied("of-another-client", "SIDECAR_HUMANAPI_CLIENT_ID="+staging.id)},
	}
}

// TestSwappedValuesServeNobody exchanges the values of two subjects.
func TestSwappedValuesServeNobody(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	server := startRedis(t)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+server.URL())
	first := f.start()
	alice := server.nameOf(func() { first.mustAsk(t, "alice") })
	bob := server.nameOf(func() { first.mustAsk(t, "bob") })
	server.do("rename", alice, "aside")
	server.do("rename", bob, alice)
	server.do("rename", "aside", bob)
	second := f.start()
	for _, subject := range []string{"alice", "bob"} {
		if a := second.mustAsk(t, subject); a.serial != 2 {
			t.Errorf("%s got token %d", subject, a.serial)
		}
	}
	if n := invalid(t, second); n < 2 {
		t.Errorf("%.0f invalid values counted, want 2 or more", n)
	}
}

// TestEnvironmentsDoNotMix shares one Redis between replicas with different
// secrets, which would know a token of the other by its client.
//
// Case D12.
func TestEnvironmentsDoNotMix(t *testing.T) {
	t.Parallel()
	p := newProvider(t, time.Hour)
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+startRedis(t).URL())
	production := f.start()
	other := f.start("SIDECAR_HUMANAPI_CLIENT_SECRET=" + staging.secret)
	for range 3 {
		for r, client := range map[*replica]string{production: clientID + "/" + clientSecret, other: clientID + "/" + staging.secret} {
			if a := r.mustAsk(t, "alice"); a.client != client {
				t.Errorf("got a token of %s, want %s", a.client, client)
			}
		}
	}
}
