// Package status is the page of the admin listener that shows how the upstreams
// and Redis do, to people as HTML and to programs as JSON.
//
// status.go is the page; report.go gathers what it tells, judge.go says what
// that means, history.go counts what happened lately. view.go puts it in words,
// and html.go and card.go write them as HTML with status.css.
package status

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the style sheet
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"token-sidecar/cache"
	"token-sidecar/cache/shared"
	"token-sidecar/metrics"
)

//go:embed status.css
var css string

// Config is what the page needs to know of the program. Its functions must be
// safe for concurrent use, and must wait neither for a provider nor for Redis.
type Config struct {
	// Upstreams are the names of the upstreams, in the order of the page.
	Upstreams []string
	// Cache returns what the cache knows of each upstream.
	Cache func() []cache.SourceStatus
	// Redis returns how the shared tokens do; nil if Redis is off.
	Redis func() shared.Status
	// Totals returns what was counted for one upstream since the start.
	Totals func(upstream string) metrics.Totals
	// Connections returns the numbers of connections to the targets of each upstream.
	Connections func() []metrics.Connections
	// Draining reports whether the program is about to stop.
	Draining func() bool
	// Started is when the program started.
	Started time.Time
	// Version is what the program says of itself.
	Version string
}

// Page shows how the upstreams do, to people and to programs. It holds what a
// stranger may see: no token, subject, scope, address or secret. Its methods are
// safe for concurrent use.
type Page struct {
	report  func() Report
	history *history
	policy  string // Content-Security-Policy

	walk sync.Mutex // one walk through the cache at a time
}

// New returns the page. What happened lately is counted from now on, while Run
// runs.
func New(c Config) *Page {
	h := newHistory(c.Upstreams, c.Totals)
	p := newPage(func() Report { return c.report(h) })
	p.history = h
	return p
}

// Run takes note of the counters every now and then, until ctx ends.
func (p *Page) Run(ctx context.Context) { p.history.run(ctx) }

func newPage(report func() Report) *Page {
	style := sha256.Sum256([]byte(css))
	return &Page{
		report: report,
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; img-src data:; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// ServeHTTP answers GET and HEAD: JSON to who asks for it by name, else HTML.
// The query "pause" has the page not load itself again.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.walk.Lock()
	report := p.report()
	p.walk.Unlock()
	var body bytes.Buffer
	contentType := "text/html; charset=utf-8"
	var err error
	if asksForJSON(r.Header.Values("Accept")) {
		contentType = "application/json"
		out := json.NewEncoder(&body)
		out.SetIndent("", "  ")
		err = out.Encode(report)
	} else {
		body.WriteString(view{report, r.URL.Query().Has("pause")}.html())
	}
	if err != nil {
		http.Error(w, "the status page has a fault", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Vary", "Accept")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(body.Bytes())
}

// asksForJSON reports whether an Accept field (RFC 9110 section 12.5.1) names
// JSON and does not like HTML as well. Wildcards ask for neither.
func asksForJSON(accept []string) bool {
	wish := map[string]float64{}
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		kind, parameters, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		wish[kind] = 1
		if q, ok := parameters["q"]; ok {
			if wish[kind], err = strconv.ParseFloat(q, 64); err != nil {
				wish[kind] = 0
			}
		}
	}
	return wish["application/json"] > wish["text/html"]
}
