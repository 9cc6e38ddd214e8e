package proxy

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// perSubject is an upstream whose tokens name their subject.
type perSubject struct{ upstream.Upstream }

// Fetch implements [upstream.Upstream].
func (perSubject) Fetch(_ context.Context, key upstream.Key, _ upstream.TokenSource) (upstream.Token, error) {
	now := time.Now()
	return upstream.NewToken("token-of-"+key.Subject, "", now, now.Add(time.Hour))
}

func subjectOf(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer token-of-")
}

// subjects is an upstream with a route that requires a subject, mydatahelps.participant.
func subjects(target string) upstream.Upstream {
	return perSubject{upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{ServiceAccount: "sa",
		DelegatedClientID: "RKStudio.DelegatedParticipant", DelegatedClientSecret: upstream.NewSecret("secret"),
		Config: upstream.Config{TokenURL: mustURL("http://127.0.0.1:1/token"), Target: mustURL(target), Scope: "api"}})}
}

// faultyTarget says for which subject it answers. Over HTTP/1.1 it sends a whole second
// answer up to 50 ms behind the first, and takes the body of a request for the next one.
type faultyTarget struct {
	*httptest.Server
	roots  *x509.CertPool
	opened atomic.Int64 // connections
	http1  sync.WaitGroup
}

func newFaultyTarget(t *testing.T, secure, http2 bool) *faultyTarget {
	f := &faultyTarget{}
	f.Server = httptest.NewUnstartedServer(f)
	f.Config.ErrorLog = quiet
	f.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.opened.Add(1)
		}
	}
	f.EnableHTTP2 = http2
	if secure {
		f.StartTLS()
		f.roots = x509.NewCertPool()
		f.roots.AddCert(f.Certificate())
	} else {
		f.Start()
	}
	t.Cleanup(func() {
		f.Close()
		f.http1.Wait()
	})
	return f
}

func (f *faultyTarget) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 2 {
		w.Header().Set("X-For", subjectOf(r))
		_, _ = io.WriteString(w, "for "+subjectOf(r))
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	f.http1.Go(func() {
		defer c.Close()
		for err == nil {
			if err = misanswer(c, r); err == nil {
				r, err = http.ReadRequest(rw.Reader)
			}
		}
	})
}

// misanswer answers r, and once more.
func misanswer(c net.Conn, r *http.Request) error {
	body := "for " + subjectOf(r)
	head := "\r\nX-For: " + subjectOf(r) + "\r\n"
	whole := fmt.Sprintf("HTTP/1.1 200 OK%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	answers := []string{whole, whole}
	switch {
	case r.Method == "HEAD":
		answers[0] = strings.TrimSuffix(whole, body)
	case r.Method == "PUT":
		answers = answers[:1] // the body is the second request
	case r.URL.Path == "/204":
		answers[0] = "HTTP/1.1 204 No Content" + head + "\r\n"
	case r.URL.Path == "/304":
		answers[0] = "HTTP/1.1 304 Not Modified" + head + "\r\n"
	}
	for _, a := range answers {
		if _, err := io.WriteString(c, a); err != nil {
			return err
		}
		time.Sleep(time.Duration(rand.IntN(50_000)) * time.Microsecond)
	}
	return nil
}

// Nobody gets an answer that is meant for another subject, whatever a target sends
// behind its answers. Every new sidecar trusts the target again, until it has seen the
// first surplus.
//
// Case P1.
func TestNoAnswerReachesAnotherSubject(t *testing.T) {
	for name, c := range map[string]struct{ secure, http2 bool }{
		"plain": {false, false}, "TLS": {true, false}, "TLS with HTTP/2": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the targets take their time
			target := newFaultyTarget(t, c.secure, c.http2)
			const together, callers, requests = 5, 16, 13
			rounds := 5 // 5,200 requests in all
			if *general {
				rounds = 1 // it keeps no HTTP/1.1 connection
			}
			for range rounds {
				var all sync.WaitGroup
				for range together {
					s := newSide(t, setup{config: func(config *Config) { config.Roots = target.roots },
						upstreams: func(*side) []upstream.Upstream { return []upstream.Upstream{subjects(target.URL)} }})
					web := client(t)
					for caller := range callers {
						all.Go(func() {
							for range requests {
								s.askForOwn(t, web, []string{"alice", "bob", "carol", "dave", "erin", "frank"}[caller%6])
							}
						})
					}
				}
				all.Wait()
			}
			if n := target.opened.Load(); c.http2 && n > int64(4*together*rounds) {
				t.Errorf("%d connections, want a handful for each sidecar", n)
			}
		})
	}
}

// askForOwn sends a request for subject, and fails the test if the answer is for another.
func (s *side) askForOwn(t *testing.T, web *http.Client, subject string) {
	method := []string{"GET", "GET", "GET", "HEAD", "PUT"}[rand.IntN(5)]
	var body io.Reader
	if method == "PUT" {
		body = strings.NewReader("GET /smuggled HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer token-of-" + subject + "\r\n\r\n")
	}
	r, _ := http.NewRequest(method, "http://"+s.addr+"/mydatahelps.participant/"+[]string{"200", "204", "304"}[rand.IntN(3)], body)
	r.Header.Set(subjectHeader, subject)
	res, err := web.Do(r)
	if err != nil {
		return // the faulty exchange itself may fail
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	got := string(b)
	if whose := res.Header.Get("X-For"); whose != "" && whose != subject || strings.HasPrefix(got, "for ") && !strings.HasSuffix(got, " "+subject) {
		t.Errorf("%s for %s got an answer for %s with %q", method, subject, whose, got)
	}
}

// A target that was seen to send bytes unasked has no HTTP/1.1 connection kept for an
// hour, on routes without a subject too. Log and series tell.
//
// Case P1.
func TestUnaskedBytesEndTheKeepingOfConnections(t *testing.T) {
	eitherWay(t) // the general way keeps none at all
	s := newSide(t, setup{})
	s.up.play(func(r *upRequest) bool {
		if r.n == 3 {
			r.say(ok("hello") + ok("unasked"))
			return true
		}
		return hello(r)
	})
	for range 8 {
		if a := s.get("/alpha/x"); a.status != 200 || a.body != "hello" {
			t.Errorf("%d %q", a.status, a.body)
		}
	}
	conns := map[net.Conn]int{}
	for _, r := range s.up.requests() {
		conns[r.Conn]++
	}
	if len(conns) != 6 {
		t.Errorf("%d connections, want one for the first three requests and one for each of the others", len(conns))
	}
	if n := strings.Count(s.log.String(), "belong to no answer"); n != 1 {
		t.Errorf("%d lines in the log tell of it", n)
	}
	want := metrics.Connections{Upstream: "alpha", Opened: 6, Distrusted: true}
	if got := s.proxy.Connections(); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
