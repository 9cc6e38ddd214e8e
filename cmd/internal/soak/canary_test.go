package soak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The canaries are parts of everything that must not get out: of each secret,
// token and subject the first twelve bytes, of tokens the last twelve too.
const (
	canarySecret  = "c4nS3cret/+%" // client secret
	canaryCaller  = "c4nCallerTok" // caller token
	canaryRing    = "c4nRingKey+/" // the key that seals, as configured
	canaryHead    = "c4nTokenHead" // access and refresh tokens
	canaryTail    = "c4nTokenTail" // the same
	canarySubject = "c4nSubjectId" // subject
	canaryPath    = "c4nHealthPat" // health data: in a path,
	canaryQuery   = "c4nHealthQry" // a query,
	canaryField   = "c4nHealthFld" // a request header,
	canaryBody    = "c4nHealthBdy" // a request body,
	canaryAnswer  = "c4nHealthAns" // an answer
	canaryForeign = "c4nForeignTx" // text of a token endpoint
)

func canaries() []string {
	return []string{canarySecret, canaryCaller, canaryRing, canaryHead, canaryTail, canarySubject,
		canaryPath, canaryQuery, canaryField, canaryBody, canaryAnswer, canaryForeign}
}

// sign is one form of a canary.
type sign struct {
	name string // of the canary and the form
	text []byte
}

// signs are all ways in which the canaries may be written.
func signs() []sign {
	var all []sign
	for _, canary := range canaries() {
		for name, text := range forms(canary) {
			all = append(all, sign{canary[3:8] + " " + name, []byte(text)})
		}
	}
	slices.SortFunc(all, func(a, b sign) int { return strings.Compare(a.name, b.name) })
	return all
}

func forms(s string) map[string]string {
	all := map[string]string{
		"plain": s, "for a query": url.QueryEscape(s), "for a path": url.PathEscape(s), "with escaped slashes": strings.ReplaceAll(s, "/", `\/`),
		"hex": hex.EncodeToString([]byte(s)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(s))), "bytes": fmt.Sprint([]byte(s)),
	}
	all["bytes"] = strings.Trim(all["bytes"], "[]") // as %v prints them
	for shift := range 3 {
		// The outer characters depend on what stands beside the canary.
		text := base64.RawStdEncoding.EncodeToString([]byte("xx"[:shift] + s))
		begin := (8*shift + 5) / 6
		text = text[begin : (shift+len(s))*8/6]
		all[fmt.Sprint("base64 at ", shift)] = text
		all[fmt.Sprint("base64url at ", shift)] = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	}
	return all
}

// scanner searches what is written to it for canaries and keeps its end. It
// takes a stream of any length.
type scanner struct {
	where string
	signs []sign

	mu    sync.Mutex // guards all below
	tail  []byte     // of what was searched: a sign may begin there
	end   []byte     // for people
	found map[string]bool
	size  int
}

const (
	longestSign = 64
	keptEnd     = 64 << 10
)

func newScanner(where string) *scanner {
	return &scanner{where: where, signs: signs(), found: map[string]bool{}}
}

func (s *scanner) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size += len(b)
	s.tail = append(s.tail, b...)
	for _, sign := range s.signs {
		if !s.found[sign.name] && bytes.Contains(s.tail, sign.text) {
			s.found[sign.name] = true
		}
	}
	s.tail = append(s.tail[:0], s.tail[max(0, len(s.tail)-longestSign):]...)
	s.end = append(s.end, b...)
	if len(s.end) > 2*keptEnd {
		s.end = append(s.end[:0], s.end[len(s.end)-keptEnd:]...)
	}
	return len(b), nil
}

// String returns the end of what was written.
func (s *scanner) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.end)
}

// seen returns how much was searched.
func (s *scanner) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// report fails the test if a canary was found.
func (s *scanner) report(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == 0 {
		t.Errorf("nothing of %s was searched", s.where)
	}
	for name := range s.found {
		t.Errorf("%s shows a secret: %s", s.where, name)
	}
}

func TestScannerFindsEveryForm(t *testing.T) {
	for _, canary := range canaries() {
		if len(canary) != 12 {
			t.Errorf("%s is not twelve bytes long", canary)
		}
		texts := slices.Collect(maps.Values(forms(canary)))
		for _, before := range []string{"", "i", "id", "id:", `{"a":"`} {
			whole := before + canary + "-and the rest"
			texts = append(texts, base64.StdEncoding.EncodeToString([]byte(whole)), base64.RawURLEncoding.EncodeToString([]byte(whole)),
				fmt.Sprintf("%x", whole), fmt.Sprintf("%X", whole), fmt.Sprint([]byte(whole)), url.QueryEscape(whole))
		}
		for _, text := range texts {
			if len(text) > 8*longestSign {
				t.Fatal("the forms are longer than expected")
			}
			for _, cut := range []int{0, 1, len(text) / 2, len(text) - 1} { // in two writes
				s := newScanner("test")
				_, _ = s.Write([]byte("before " + text[:cut]))
				_, _ = s.Write([]byte(text[cut:] + " behind"))
				if len(s.found) == 0 {
					t.Errorf("%s is not found in %q", canary, text)
				}
			}
		}
	}
	s := newScanner("test")
	_, _ = s.Write([]byte("nothing to be found: c4nTokenHea c4nSubjectI"))
	if len(s.found) != 0 {
		t.Errorf("found what is not there: %v", s.found)
	}
}
