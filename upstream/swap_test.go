package upstream

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// swapping is OCLC's token endpoint with a fault: of two requests that are
// there at the same time, each gets the answer to the other.
type swapping struct {
	member string // that names the institution
	meet   [2]chan string

	mu sync.Mutex // guards n
	n  int
}

func (s *swapping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, mine, _ := strings.Cut(r.URL.Query().Get("scope"), "context:")
	s.mu.Lock()
	place := s.n % 2
	s.n++
	s.mu.Unlock()
	s.meet[place] <- mine // buffered
	select {
	case other := <-s.meet[1-place]:
		_, _ = fmt.Fprintf(w, `{"access_token":"tk_%s","token_type":"bearer","expires_in":1199,%q:%q}`, other, s.member, other)
	case <-r.Context().Done():
	}
}

// TestTokenForAnotherInstitutionIsRefused mixes up two answers on their way. OCLC
// names the institution in an answer, so neither token may be used. Other
// providers' answers name nobody and their tokens are opaque: nothing there
// could be compared.
//
// Case C10.
func TestTokenForAnotherInstitutionIsRefused(t *testing.T) {
	for _, member := range []string{"context_institution_id", "contextInstitutionId"} {
		endpoint := &swapping{member: member, meet: [2]chan string{make(chan string, 1), make(chan string, 1)}}
		u := newTestOCLC(t, serve(t, endpoint.ServeHTTP), func(c *OCLCConfig) { c.Scope = "a" })
		var both sync.WaitGroup
		for _, institution := range []string{"91475", "128807"} {
			both.Go(func() {
				token, err := fetchOCLC(t, u, institution)
				if got := outcome(t, token, err); got != "malformed" {
					t.Errorf("%s asked and got the other's token: %s", institution, got)
				}
				if err != nil && (strings.Contains(err.Error(), "91475") || strings.Contains(err.Error(), "128807")) {
					t.Errorf("the error names an institution: %v", err)
				}
			})
		}
		both.Wait()
		if endpoint.n != 2 {
			t.Errorf("%d token requests", endpoint.n)
		}
	}
}
