package sidecar

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the style sheet
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

//go:embed status.css
var statusCSS string

// statusPage shows how the upstreams do, to people and to programs. It holds
// what a stranger may see: no token, subject, scope, address or secret.
type statusPage struct {
	report func() statusReport
	policy string // Content-Security-Policy

	walk sync.Mutex // one walk through the cache at a time
}

func newStatusPage(report func() statusReport) *statusPage {
	style := sha256.Sum256([]byte(statusCSS))
	return &statusPage{
		report: report,
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) + "'; img-src data:; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	}
}

// ServeHTTP answers GET and HEAD: JSON to who asks for it by name, else HTML.
// The query "pause" has the page not load itself again.
func (p *statusPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
		body.WriteString(statusView{report, r.URL.Query().Has("pause")}.html())
	}
	if err != nil {
		plain(w, http.StatusInternalServerError, "the status page has a fault")
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
