// Package status is the page of the admin listener that shows how each upstream
// and Redis do at this moment: to people as HTML, to programs as JSON. What
// happened over time is for Prometheus, which has the series of package metrics.
//
// status.go answers a request for the page. It has gather.go collect the facts
// from the parts of the program and ask judge.go what they mean for the requests of
// the app. For people page.go writes what comes of both as HTML, with one card for
// each upstream from card.go; html.go escapes what these write, and puts times and
// numbers in words. Programs get it as JSON; report.go has its form, which
// docs/status.md documents.
package status

import (
	"bytes"
	"crypto/sha256"
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

// Config is what the page needs to know of the program. Its functions must be
// safe for concurrent use, and must wait neither for a provider nor for Redis.
type Config struct {
	// Upstreams are the names of the upstreams, in the order of the page.
	Upstreams []string
	// Cache returns what the cache knows of each upstream.
	Cache func() []cache.SourceStatus
	// Redis returns how the shared tokens do; nil if Redis is off.
	Redis func() shared.Status
	// Connections returns the numbers of connections to the targets of each upstream.
	Connections func() []metrics.Connections
	// Lookups returns how many requests needed a token of an upstream since the start, and how
	// many of them found it in memory.
	Lookups func(upstream string) (atOnce, all uint64)
	// Audit returns why the last line of the audit was not written, "" if it was; nil if the
	// audit is off.
	Audit func() string
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
	report func() Report
	policy string // Content-Security-Policy

	walk sync.Mutex // held while report runs: one walk through the cache at a time is enough
}

// New returns the page. It calls the functions of c once for each request.
func New(c Config) *Page { return newPage(c.report) }

// newPage returns a page that shows what report returns.
func newPage(report func() Report) *Page {
	style := sha256.Sum256([]byte(css))
	return &Page{
		report: report,
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; img-src data:; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// ServeHTTP answers GET and HEAD with JSON if the request asks for JSON by name,
// and with HTML otherwise. With "pause" in its query the HTML does not load
// itself again.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.walk.Lock()
	report := p.report()
	p.walk.Unlock()
	var body bytes.Buffer
	contentType := "text/html; charset=utf-8"
	if asksForJSON(r.Header.Values("Accept")) {
		contentType = "application/json"
		out := json.NewEncoder(&body)
		out.SetIndent("", "  ")
		if err := out.Encode(report); err != nil {
			http.Error(w, "the status page has a fault", http.StatusInternalServerError)
			return
		}
	} else {
		body.WriteString(view{report, r.URL.Query().Has("pause")}.html())
	}
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Vary", "Accept")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(body.Bytes())
}

// asksForJSON reports whether an Accept field (RFC 9110 section 12.5.1) gives JSON
// a greater weight than HTML. Wildcards count for neither of them.
func asksForJSON(accept []string) bool {
	weight := map[string]float64{}
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		kind, parameters, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		weight[kind] = 1
		if q, ok := parameters["q"]; ok {
			if weight[kind], err = strconv.ParseFloat(q, 64); err != nil {
				weight[kind] = 0
			}
		}
	}
	return weight["application/json"] > weight["text/html"]
}
