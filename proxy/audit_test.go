package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// Two keys of pseudonyms.
const (
	oldAuditKey = "old:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	newAuditKey = "new:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA="
)

// auditLine is one line.
type auditLine struct {
	Time, Event, ID, Route, Method, Allowed, Subject, Key, Caller, Purpose, Problem string
	TraceID                                                                         string `json:"trace_id"`
	Status                                                                          int
	Millis                                                                          *int64
}

// subjectUpstream is an upstream whose requests may be for a subject.
func (s *side) subjectUpstream(name, target string, place upstream.SubjectPlace) upstream.Upstream {
	return issuing{upstream.NewOAuth2(upstream.OAuth2Config{Name: name, ClientID: "id", ClientSecret: upstream.NewSecret("shh"), Subject: place,
		Config: upstream.Config{TokenURL: mustURL("http://127.0.0.1:1/token"), Target: mustURL(target), Scope: "read"}}), s.idp}
}

// newAudited starts a sidecar with the routes alpha, for subjects, and beta, without, and an
// audit that goes to out.
func newAudited(t *testing.T, out io.Writer, change func(*Config, *AuditConfig)) *side {
	t.Helper()
	return newSide(t, setup{
		upstreams: func(s *side) []upstream.Upstream {
			return []upstream.Upstream{s.subjectUpstream("alpha", s.up.url(), upstream.SubjectPlace{Rule: upstream.SubjectRequired, Param: "resource_owner"}), s.oauth2("beta", s.up.url())}
		},
		config: func(c *Config) {
			a := AuditConfig{Out: out, Key: upstream.NewSecret(oldAuditKey), Metrics: c.Metrics, Log: c.Log}
			if change != nil {
				change(c, &a)
			}
			var err error
			if c.Audit, err = NewAudit(a); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Audit.Close)
		},
	})
}

// auditLines returns the lines of an audit once there are as many.
func auditLines(t *testing.T, text func() string, n int) (all []auditLine) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines of the audit", n), func() bool { return strings.Count(text(), "\n") >= n })
	for line := range strings.Lines(text()) {
		var l auditLine
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, l)
	}
	if len(all) != n {
		t.Fatalf("%d lines, want %d", len(all), n)
	}
	return all
}

// TestAuditTellsWhoAskedForWhat sends a request with all that a line may have.
//
// Case AU1.
func TestAuditTellsWhoAskedForWhat(t *testing.T) {
	out := &syncBuffer{}
	s := newAudited(t, out, func(c *Config, a *AuditConfig) {
		c.Callers = upstream.NewSecret("shop  0123456789abcdef-canary")
		c.Allow = map[string]AllowList{"alpha": mustAllow(t, "GET /people/{id}")}
		a.Purposes = []string{"care", "billing"}
	})
	trace := strings.Repeat("ab", 16)
	before := time.Now().Add(-time.Second)
	a := s.get("/alpha/people/canary-path?canary=query", "X-Sidecar-Token: 0123456789abcdef-canary", "X-Token-Subject: canary-person",
		"X-Token-Purpose: care", "Traceparent: 00-"+trace+"-"+strings.Repeat("cd", 8)+"-01")
	if a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	lines := auditLines(t, out.String, 2)
	sent, answered := lines[0], lines[1]
	for _, l := range []*auditLine{&sent, &answered} {
		if at, err := time.Parse(time.RFC3339Nano, l.Time); err != nil || at.Before(before) || !strings.HasSuffix(l.Time, "Z") {
			t.Errorf("time %q", l.Time)
		}
		l.Time = ""
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}$`).MatchString(sent.ID) || answered.ID != sent.ID || answered.Millis == nil || *answered.Millis > 60_000 {
		t.Errorf("ids %s and %s, %v ms", sent.ID, answered.ID, answered.Millis)
	}
	key, _ := ParsePseudonymKey(oldAuditKey)
	if want := (auditLine{Event: "sent", ID: sent.ID, Route: "alpha", Method: "GET", Allowed: "GET /people/{id}", Subject: key.Pseudonym("canary-person"),
		Key: "old", Caller: "shop", Purpose: "care", TraceID: trace}); sent != want {
		t.Errorf("%+v\nwant\n%+v", sent, want)
	}
	answered.Millis = nil
	if want := (auditLine{Event: "answered", ID: sent.ID, Status: 200}); answered != want {
		t.Errorf("%+v", answered)
	}
	if strings.Contains(out.String(), "canary") || strings.Contains(out.String(), `""`) {
		t.Errorf("a line holds what it must not: %s", out)
	}
	if got := s.up.last().header("X-Token-Purpose"); got != nil {
		t.Errorf("the target sees the purpose: %v", got)
	}
}

// TestRequestsWithoutASubjectHaveNoLine also holds that refused requests have none.
func TestRequestsWithoutASubjectHaveNoLine(t *testing.T) {
	out := &syncBuffer{}
	s := newAudited(t, out, func(_ *Config, a *AuditConfig) { a.Purposes = []string{"care"} })
	if a := s.get("/beta/x"); a.status != 200 {
		t.Error(a.status)
	}
	s.get("/alpha/x").problem(t, 400, "subject_required")
	for _, line := range []string{"X-Token-Purpose: canary", "X-Token-Purpose:", "X-Token-Purpose: care\r\nX-Token-Purpose: care", "X-Token-Purpose: Care"} {
		s.get("/alpha/x", "X-Token-Subject: p", line).problem(t, 400, "purpose_invalid")
	}
	s.get("/alpha/x", "X-Token-Subject: p", "X_Token_Purpose: care").problem(t, 400, "header_invalid")
	s.idp.answer = func(int64) (upstream.Token, error) { return unavailable() }
	s.get("/alpha/x", "X-Token-Subject: q").problem(t, 503, "token_unavailable")
	s.get("/alpha/x?access_token=a", "X-Token-Subject: q").problem(t, 400, "query_token_refused")
	if text := out.String(); text != "" {
		t.Error(text)
	}
}

// gate is where an audit goes that works, fails or stands still.
type gate struct {
	syncBuffer
	failing atomic.Bool
	open    sync.RWMutex // write-locked while it stands still
}

func (g *gate) Write(p []byte) (int, error) {
	g.open.RLock()
	defer g.open.RUnlock()
	if g.failing.Load() {
		return 0, errors.New("canary: no space left")
	}
	return g.syncBuffer.Write(p)
}

// TestNothingIsSentWithoutItsLine has the audit fail, or stand still, before each sort of request.
//
// Case AU2.
func TestNothingIsSentWithoutItsLine(t *testing.T) {
	requests := map[string]struct{ method, body, header string }{
		"plain":     {"GET", "", "A: b"},
		"body":      {"POST", "small", "A: b"},
		"upload":    {"PUT", strings.Repeat("x", 1<<20), "A: b"},
		"WebSocket": {"GET", "", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for name, r := range requests {
		for how, block := range map[string]func(*gate) (end func()){
			"fails":        func(g *gate) func() { g.failing.Store(true); return func() { g.failing.Store(false) } },
			"stands still": func(g *gate) func() { g.open.Lock(); return g.open.Unlock },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				g := &gate{}
				s := newAudited(t, g, nil)
				end := block(g)
				s.send(r.method, "/alpha/x", r.body, "X-Token-Subject: p", r.header).problem(t, 503, "audit_unavailable")
				if n := len(s.up.requests()); n != 0 {
					t.Errorf("the target saw %d requests", n)
				}
				if cause := s.proxy.config.Audit.Failing(); cause == "" || strings.Contains(cause, "canary") || (how == "stands still") != (cause == "timeout") {
					t.Errorf("it says that it fails by %q", cause)
				}
				if a := s.get("/beta/x"); a.status != 200 {
					t.Errorf("a request without subject: %d", a.status)
				}
				end()
				if a := s.get("/alpha/x", "X-Token-Subject: p"); a.status != 200 {
					t.Errorf("once it works again: %d %s", a.status, a.body)
				}
				if cause := s.proxy.config.Audit.Failing(); cause != "" {
					t.Errorf("it still says that it fails by %q", cause)
				}
				if how == "stands still" { // the line came late, so another says that nothing was sent
					eventually(t, "the refusal is told", func() bool { return strings.Contains(g.String(), `"problem":"audit_unavailable"`) })
				}
				if strings.Contains(s.log.String(), "canary") || strings.Count(s.log.String(), "requests for subjects are refused") != 1 ||
					!strings.Contains(s.log.String(), "audit lines are written again") {
					t.Errorf("the log says %s", s.log)
				}
			})
		}
	}
}

// TestTokensHandedOnAreAudited, and are not handed on without their line.
func TestTokensHandedOnAreAudited(t *testing.T) {
	eitherWay(t)
	g := &gate{}
	s := newAudited(t, g, func(c *Config, _ *AuditConfig) { c.Vend = []string{"alpha"} })
	if a := s.send("POST", "/token/alpha", "", "X-Token-Subject: canary-person"); a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	lines := auditLines(t, g.String, 2)
	if lines[0].Event != "handed_on" || lines[0].Method != "POST" || lines[0].Subject == "" || lines[1].Event != "answered" {
		t.Errorf("%+v", lines)
	}
	g.failing.Store(true)
	a := s.send("POST", "/token/alpha", "", "X-Token-Subject: canary-person")
	a.problem(t, 503, "audit_unavailable")
	if strings.Contains(a.body, "canary") || strings.Contains(g.String(), "canary") {
		t.Error("the token, or the subject, is shown")
	}
}

// TestARequestThatIsSentAgainHasOneLine has the target refuse the first token.
func TestARequestThatIsSentAgainHasOneLine(t *testing.T) {
	out := &syncBuffer{}
	s := newAudited(t, out, nil)
	s.up.play(func(r *upRequest) bool {
		if r.n == 1 {
			r.say("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 0\r\n\r\n")
			return true
		}
		return hello(r)
	})
	if a := s.get("/alpha/x", "X-Token-Subject: p"); a.status != 200 {
		t.Fatal(a.status)
	}
	if lines := auditLines(t, out.String, 2); lines[0].Event != "sent" || lines[1].Status != 200 {
		t.Errorf("%+v", lines)
	}
}

// TestAuditTellsHowARequestEnded has the target cut the connection.
func TestAuditTellsHowARequestEnded(t *testing.T) {
	out := &syncBuffer{}
	s := newAudited(t, out, nil)
	s.up.play(func(*upRequest) bool { return false })
	s.send("POST", "/alpha/x", "a", "X-Token-Subject: p").problem(t, 502, "target_unreachable")
	if lines := auditLines(t, out.String, 2); lines[0].Event != "sent" || lines[1].Event != "answered" || lines[1].Status != 502 || lines[1].Problem != "target_unreachable" {
		t.Errorf("%+v", lines)
	}
}

// TestKeysGiveUnlinkablePseudonyms replaces the key while requests are sent.
//
// Case AU3.
func TestKeysGiveUnlinkablePseudonyms(t *testing.T) {
	eitherWay(t)
	out, secret := &syncBuffer{}, upstream.NewSecret(oldAuditKey)
	s := newAudited(t, out, func(_ *Config, a *AuditConfig) { a.Key = secret })
	for _, key := range []string{oldAuditKey, newAuditKey} {
		secret.Replace(key)
		for _, person := range []string{"p", "q", "p"} {
			s.get("/alpha/x", "X-Token-Subject: "+person)
		}
	}
	of := map[string]map[string]int{}
	for _, l := range auditLines(t, out.String, 12) {
		if l.Event == "sent" {
			if of[l.Key] == nil {
				of[l.Key] = map[string]int{}
			}
			of[l.Key][l.Subject]++
		}
	}
	if len(of["old"]) != 2 || len(of["new"]) != 2 {
		t.Errorf("%v", of)
	}
	for pseudonym := range of["old"] {
		if of["new"][pseudonym] != 0 {
			t.Error("two keys give one pseudonym")
		}
	}
	secret.Replace(strings.Replace(oldAuditKey, "old:", "new:", 1))
	if s.get("/alpha/x", "X-Token-Subject: p"); !strings.Contains(s.log.String(), "two keys of the audit have one id") {
		t.Errorf("the log says %s", s.log)
	}
	for _, text := range []string{"", "a", "a:", ":AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "a:AAEC", "a:canary"} {
		if _, err := ParsePseudonymKey(text); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// narrow takes a few bytes of each write while it is full.
type narrow struct {
	syncBuffer
	left int // bytes that it still takes; negative: all
}

func (n *narrow) Write(p []byte) (int, error) {
	if n.left < 0 {
		return n.syncBuffer.Write(p)
	}
	took := min(n.left, len(p))
	_, _ = n.syncBuffer.Write(p[:took])
	n.left -= took
	return took, errors.New("full")
}

// TestATornLineSpoilsNoOther has the disk take a part of what is written.
func TestATornLineSpoilsNoOther(t *testing.T) {
	eitherWay(t)
	counts := map[string]int{}
	out := &narrow{left: 33}
	w := newAuditWriter(&auditOut{to: out}, func(outcome string, n int) { counts[outcome] += n }, zerolog.Nop())
	text := func(i int) []byte { return fmt.Appendf(nil, "{\"id\":\"%02d\"}\n", i) } // 12 bytes
	for i := range 4 {
		if err := w.write(text(i)); (err == nil) != (i < 2) {
			t.Errorf("line %d: %v", i, err)
		}
	}
	out.left = -1
	if err := w.write(text(4)); err != nil {
		t.Error(err)
	}
	w.note(text(5))
	w.close()
	if got, want := out.String(), `{"id":"00"}|{"id":"01"}|{"id":"02|{"id":"04"}|{"id":"05"}|`; strings.ReplaceAll(got, "\n", "|") != want {
		t.Errorf("%q", got)
	}
	if counts["written"] != 4 || counts["failed"] != 2 {
		t.Errorf("%v", counts)
	}
}

// TestLinesBehindAStalledWriteAreGivenUp has the disk stand still. The line that it was given may come;
// those behind it never do, and no more of them are kept than there may be.
func TestLinesBehindAStalledWriteAreGivenUp(t *testing.T) {
	eitherWay(t)
	synctest.Test(t, func(t *testing.T) {
		counts := map[string]int{}
		var mu sync.Mutex
		reader, disk := io.Pipe() // writing takes as long as nobody reads
		w := newAuditWriter(&auditOut{to: disk}, func(outcome string, n int) {
			mu.Lock()
			defer mu.Unlock()
			counts[outcome] += n
		}, zerolog.Nop())
		ends := make(chan error, maxQueued+2)
		write := func(text string) {
			go func() { ends <- w.write([]byte(text + "\n")) }()
			synctest.Wait()
		}
		began := time.Now()
		write("given")
		time.Sleep(auditPatience / 2)
		for range maxQueued {
			write("behind")
		}
		w.note([]byte("note\n"))
		write("too many")
		if err := <-ends; err != errNotWritten || time.Since(began) != auditPatience/2 {
			t.Errorf("one too many: %v after %v", err, time.Since(began))
		}
		if err := <-ends; err != errOnItsWay || time.Since(began) != auditPatience {
			t.Errorf("the line that was given: %v after %v", err, time.Since(began))
		}
		for range maxQueued {
			if err := <-ends; err != errNotWritten || time.Since(began) != 3*auditPatience/2 {
				t.Fatalf("one behind it: %v after %v", err, time.Since(began))
			}
		}
		all := make(chan string)
		go func() {
			text, _ := io.ReadAll(reader)
			all <- string(text)
		}()
		write("later")
		if err := <-ends; err != nil {
			t.Error(err)
		}
		w.close()
		_ = disk.Close()
		if text := <-all; text != "given\nnote\nlater\n" {
			t.Errorf("what is written is %.60q", text)
		}
		if counts["written"] != 3 || counts["failed"] != maxQueued+1 || counts["dropped"] != 0 {
			t.Errorf("%v", counts)
		}
	})
}

// TestAuditFileIsFollowed moves the file away, as log rotation does, and takes the directory away.
func TestAuditFileIsFollowed(t *testing.T) {
	eitherWay(t)
	dir := filepath.Join(t.TempDir(), "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "lines")
	f, err := openAudit(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { f.close() }()
	write := func(text string) error {
		f.looked = time.Time{} // more than a second has passed
		_, err := f.write([]byte(text))
		return err
	}
	if err := errors.Join(write("1\n"), os.Rename(path, path+".1"), write("2\n"), write("3\n4")); err != nil {
		t.Fatal(err)
	}
	again, err := openAudit(path) // as after a restart, behind a part of a line
	if err != nil {
		t.Fatal(err)
	}
	n, err := again.write([]byte("5\n"))
	if again.close(); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	first, _ := os.ReadFile(path + ".1")
	second, _ := os.ReadFile(path)
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 || string(first) != "1\n" || string(second) != "2\n3\n4\n5\n" {
		t.Errorf("%q and %q, %v", first, second, info)
	}
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := write("6\n"); err == nil || auditCause(err) != errNoFile.Error() {
		t.Errorf("into a directory: %v", err)
	}
	if err := errors.Join(os.RemoveAll(dir)); err != nil {
		t.Fatal(err)
	}
	if err := write("6\n"); err == nil || strings.Contains(auditCause(err), dir) {
		t.Errorf("into a file that nobody can find: %v", err)
	}
	if _, err := NewAudit(AuditConfig{Path: t.TempDir(), Key: upstream.NewSecret(oldAuditKey), Metrics: metrics.New("test")}); err == nil {
		t.Error("a directory is taken")
	}
}
