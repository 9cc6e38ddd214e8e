package fleet

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// canaries are what must show up nowhere: the words, and their forms in other
// encodings.
type canaries map[string]string // what it is, by form

// add takes a word in all its forms. Of the base64 forms, which depend on where
// a word begins in a text, only the part is taken that depends on nothing else.
func (c canaries) add(what, word string) {
	for _, w := range []string{word, word[:min(len(word), 12)]} {
		c[w] = what
		c[hex.EncodeToString([]byte(w))] = what + ", hex"
		c[strings.ToUpper(hex.EncodeToString([]byte(w)))] = what + ", hex"
		c[url.QueryEscape(w)] = what + ", URL-encoded"
		c[url.PathEscape(w)] = what + ", URL-encoded"
		for shift := range 3 {
			padded := append(make([]byte, shift), w...)
			from, to := (shift*8+5)/6, len(padded)*8/6
			c[base64.RawStdEncoding.EncodeToString(padded)[from:to]] = what + ", base64"
			c[base64.RawURLEncoding.EncodeToString(padded)[from:to]] = what + ", base64url"
		}
	}
}

// in returns what of the canaries is in text. It looks at every place of the text
// for a form that begins so, since there are thousands of forms.
func (c canaries) in(text string) (found []string) {
	const least = 8 // bytes of the shortest form
	byStart := map[string][]string{}
	for form := range c {
		byStart[form[:least]] = append(byStart[form[:least]], form)
	}
	seen := map[string]bool{}
	for i := range len(text) - least + 1 {
		for _, form := range byStart[text[i:i+least]] {
			if !seen[form] && strings.HasPrefix(text[i:], form) {
				seen[form] = true
				found = append(found, c[form]+": "+form)
			}
		}
	}
	return found
}

func TestCanariesAreFound(t *testing.T) {
	c := canaries{}
	c.add("secret", "s3cret/with+signs?and=more")
	for _, text := range []string{
		"x s3cret/with+signs?and=more", "s3cret/with+", "s3cret%2Fwith%2Bsigns", hex.EncodeToString([]byte("xs3cret/with+")),
		base64.StdEncoding.EncodeToString([]byte("user:s3cret/with+signs?and=more!")),
		base64.URLEncoding.EncodeToString([]byte("a:s3cret/with+signs?and=more")),
		base64.StdEncoding.EncodeToString([]byte("ab:s3cret/with+")),
	} {
		if len(c.in(text)) == 0 {
			t.Errorf("not found in %q", text)
		}
	}
	if found := c.in("nothing of the kind, s3cret/with-"); len(found) > 0 {
		t.Errorf("found %v in a text without it", found)
	}
}

// monitor collects what MONITOR says from now on.
func (s *redisServer) monitor() (stop func() string) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	_, _ = fmt.Fprint(conn, "MONITOR\r\n")
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		s.t.Fatalf("MONITOR: %q %v", line, err)
	}
	var text strings.Builder
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = in.WriteTo(&text) })
	return func() string {
		_ = conn.Close()
		reading.Wait()
		return text.String()
	}
}

const (
	scopeCanary     = "scope.canary:records/read"
	subjectCanaries = 20
)

// subjectCanary returns one of the subjects.
func subjectCanary(i int) string {
	return fmt.Sprintf("patient-canary-%d@example.org", i%subjectCanaries)
}

// allCanaries returns what must show up nowhere after a run.
func allCanaries(p *provider) canaries {
	c := canaries{}
	for _, secret := range []string{clientSecret, clientID, "generic-client-id-canary", "generic-secret-canary",
		redisPassword, scopeCanary, strings.TrimPrefix(ring("a"), "a:")} {
		c.add("setting", secret)
	}
	for i := range subjectCanaries {
		c.add("subject", subjectCanary(i))
	}
	for _, token := range p.secrets() {
		c.add("token", token)
	}
	return c
}

// TestNothingLeaks looks at all that Redis sees and keeps, and all that the
// replicas say, in a run with faults.
//
// Cases D9, I4.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	p := newProvider(t, 3*time.Second)
	generic := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: p.life, KeepExpired: true,
		ClientID: "generic-client-id-canary", ClientSecret: "generic-secret-canary", Scopes: []string{scopeCanary}})
	p.addOther(t, generic)
	server := startRedis(t, "--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000000",
		"--rdbcompression", "no")
	server.setUser(minimalACL...)
	stop := server.monitor()
	f := newFleet(t, p, "SIDECAR_REDIS_URL="+server.userURL(), "SIDECAR_LOG_LEVEL=trace",
		"SIDECAR_OAUTH2_0_NAME=generic", "SIDECAR_OAUTH2_0_CLIENT_ID="+generic.ClientID(),
		"SIDECAR_OAUTH2_0_CLIENT_SECRET="+generic.ClientSecret(), "SIDECAR_OAUTH2_0_SCOPE="+scopeCanary,
		"SIDECAR_OAUTH2_0_TARGET="+p.target.url(), "SIDECAR_OAUTH2_0_TOKEN_URL="+generic.TokenURL())
	replicas := f.replicas(3)
	use := func() {
		for i := range 60 {
			for _, r := range replicas {
				r.mustAsk(t, subjectCanary(i))
				if err := r.get("/generic/x", "").mine(scopeCanary); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	kept := useUnderFaults(server, use)
	said := stop()
	if !strings.Contains(strings.ToLower(said), "evalsha") || !strings.Contains(kept, "evalsha") || !strings.Contains(kept, "}:token ") {
		t.Error("MONITOR, SLOWLOG and the values do not show what the replicas do")
	}
	c := allCanaries(p)
	places := map[string]string{"MONITOR": said, "SLOWLOG, names and values": kept}
	for i, r := range replicas {
		places[fmt.Sprint("admin pages of replica ", i)] = r.show(t, "/metrics") + r.show(t, "/") + r.show(t, "/readyz")
		places[fmt.Sprint("log of replica ", i)] = r.stderr.String()
	}
	for place, text := range places {
		t.Logf("%s: %d bytes searched for %d forms", place, len(text), len(c))
		for _, found := range c.in(text) {
			t.Errorf("%s: %s", place, found)
		}
	}
}

// useUnderFaults calls use with Redis well, forbidding, spoilt and emptied, and
// returns all that Redis kept.
func useUnderFaults(server *redisServer, use func()) (kept string) {
	use()
	var b strings.Builder
	keep := func() {
		for _, name := range server.Client.Keys(server.t.Context(), "*").Val() {
			fmt.Fprintf(&b, "%s %s\n", name, server.Client.Dump(server.t.Context(), name).Val())
		}
	}
	keep()
	server.setUser("-@all")
	use()
	server.setUser(minimalACL...)
	for name := range server.names() {
		server.do("del", name)
		server.do("rpush", name, "x")
	}
	server.do("config", "set", "maxmemory", "1mb")
	use()
	server.do("config", "set", "maxmemory", "0")
	server.do("flushall")
	server.do("script", "flush")
	use()
	keep()
	fmt.Fprintln(&b, server.Client.SlowLogGet(server.t.Context(), -1).Val())
	return b.String()
}
