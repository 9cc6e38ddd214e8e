package fleet

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// provider is a token endpoint that knows every subject and counts, and the
// target that takes its tokens. It speaks to the upstream humanapi, whose keys
// are subjects, and to generic upstreams, whose key here is the scope.
type provider struct {
	life   time.Duration
	tokens *httptest.Server
	target *target

	mu     sync.Mutex // guards all below
	issued map[string]grant
	asked  []exchange
	count  map[string]int // token requests by key
	// delay, if not nil, says how long the nth answer for a key takes.
	delay func(key string, n int) time.Duration
}

// grant is what an issued token stands for.
type grant struct {
	key    string // the subject, or the scope where there is none
	client string // id and secret that the token was asked for with
	serial int    // of the key's tokens, from 1
	asked  time.Time
	expiry time.Time
}

// exchange is one token request.
type exchange struct {
	key          string
	began, ended time.Time // when it arrived, and was answered or broken off
}

func newProvider(t *testing.T, life time.Duration) *provider {
	p := &provider{life: life, issued: map[string]grant{}, count: map[string]int{}}
	p.tokens = httptest.NewServer(http.HandlerFunc(p.serveToken))
	t.Cleanup(p.tokens.Close)
	p.target = newTarget(t, min(life/10, 2*time.Second), p.lookUp)
	return p
}

func (p *provider) setDelay(f func(key string, n int) time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = f
}

// lookUp returns what token stands for.
func (p *provider) lookUp(token string) (grant, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g, ok := p.issued[token]
	return g, ok
}

// requests returns how many token requests came for key; for "" all.
func (p *provider) requests(key string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if key == "" {
		return len(p.asked)
	}
	return p.count[key]
}

// requestsBut returns how many token requests came for all keys but those that
// begin with prefix.
func (p *provider) requestsBut(prefix string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, count := range p.count {
		if !strings.HasPrefix(key, prefix) {
			n += count
		}
	}
	return n
}

// history returns all token requests so far, those that were answered or
// broken off, in the order of their end.
func (p *provider) history() []exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]exchange(nil), p.asked...)
}

// secrets returns all tokens.
func (p *provider) secrets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for token := range p.issued {
		list = append(list, token)
	}
	return list
}

func (p *provider) serveToken(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	key, client := askedFor(r)
	p.mu.Lock()
	p.count[key]++
	n, wait := p.count[key], time.Duration(0)
	if p.delay != nil {
		wait = p.delay(key, n)
	}
	p.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-r.Context().Done():
		}
	}
	token := "tk." + rand.Text() + rand.Text()
	p.mu.Lock()
	p.asked = append(p.asked, exchange{key, began, time.Now()})
	p.issued[token] = grant{key, client, n, began, began.Add(p.life)}
	p.mu.Unlock()
	if r.Context().Err() != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token, int(p.life.Seconds()))
}

// askedFor reads a token request of either upstream.
func askedFor(r *http.Request) (key, client string) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var m map[string]string
		_ = json.Unmarshal(body, &m)
		return m["client_user_id"], m["client_id"] + "/" + m["client_secret"]
	}
	form, _ := url.ParseQuery(string(body))
	id, secret, _ := r.BasicAuth()
	return form.Get("scope"), id + "/" + secret
}

// historyByArrival returns all token requests in the order in which they came.
func (p *provider) historyByArrival() []exchange {
	all := p.history()
	slices.SortFunc(all, func(a, b exchange) int { return a.began.Compare(b.began) })
	return all
}
