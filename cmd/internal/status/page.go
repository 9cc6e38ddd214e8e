package status

import (
	_ "embed" // the style sheet
	"fmt"
	"strings"
	"time"
)

//go:embed status.css
var css string

// view is a Report as a page for people.
type view struct {
	Report
	Paused bool // the page does not load itself again
}

// html returns the whole page.
func (v view) html() string {
	h := &htmlText{}
	v.head(h)
	h.add("<body>\n")
	v.header(h)
	h.add(`<main>
<section aria-labelledby="upstreams">
<h2 id="upstreams">Upstreams</h2>
<div class="cards">
`)
	for i, u := range v.Upstreams {
		v.card(h, i, u)
	}
	h.add("</div>\n</section>\n")
	v.strip(h)
	h.add(`</main>
<footer>
<p><strong>fresh</strong> is used as it is; <strong>stale</strong> is used while a new one is fetched; <strong>invalid</strong> is never used. A <strong>kept</strong> token is replaced whether it is used or not. <strong>Token at once</strong> is the share of requests since the start that found their token in memory.</p>
<p>The same for programs: <code>curl -H 'Accept: application/json'</code>. What happened over time: <a href="metrics">/metrics</a>.</p>
</footer>
</body>
</html>
`)
	return h.String()
}

// head writes the head element: title, icon and style sheet.
func (v view) head(h *htmlText) {
	h.add(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
`)
	if !v.Paused {
		h.add("<meta http-equiv=\"refresh\" content=\"10\">\n")
	}
	color := map[severity]string{severityError: "c02626", severityWarning: "b7791f", severityOK: "1f8a4c"}[v.Severity]
	h.add(`<title>{} – token-sidecar</title>
<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Ccircle cx='8' cy='8' r='6' fill='%23{}'/%3E%3C/svg%3E">
<style>`, v.summary(), color)
	h.add(markup(css))
	h.add("</style>\n</head>\n")
}

// header writes what a reader sees first: the state of all upstreams in one line,
// and links to those that somebody should look at.
func (v view) header(h *htmlText) {
	h.add(`<header>
<p class="brand">token-sidecar</p>
<h1 class="{}"><span class="mark" aria-hidden="true">{}</span>{}</h1>
<p class="asof">As of `, v.Severity, symbol(v.Severity), v.summary())
	h.time(v.Time, v.Time.Format(time.TimeOnly)+" UTC")
	if v.Paused {
		h.add(". Paused. <a href=\"./\">Resume</a></p>\n")
	} else {
		h.add(". Loads again every 10 s. <a href=\"./?pause\">Pause</a></p>\n")
	}
	link := markup(`<p class="asof">Look at <a href="#u{}">{}</a>`)
	for i, u := range v.Upstreams {
		if u.Severity == severityError || u.Severity == severityWarning {
			h.add(link, i, u.Name)
			link = `, <a href="#u{}">{}</a>`
		}
	}
	if strings.HasPrefix(string(link), ",") {
		h.add(".</p>\n")
	}
	if v.Draining {
		h.add("<p class=\"banner\">Draining: requests under way are let finish, then this sidecar stops.</p>\n")
	}
	h.add("</header>\n")
}

// summary returns the state of all upstreams in one line.
func (v view) summary() string {
	var failing, warned int
	for _, u := range v.Upstreams {
		switch u.Severity {
		case severityError:
			failing++
		case severityWarning:
			warned++
		}
	}
	of := fmt.Sprintf("of %d upstreams", len(v.Upstreams))
	if len(v.Upstreams) == 1 {
		of = "of 1 upstream"
	}
	switch {
	case v.Draining:
		return "Shutting down"
	case failing > 0 && warned > 0:
		return fmt.Sprintf("%d %s in trouble, %d to watch", failing, of, warned)
	case failing > 0:
		return fmt.Sprintf("%d %s in trouble", failing, of)
	case warned > 0:
		return fmt.Sprintf("%d %s to watch", warned, of)
	case v.Audit.State == "failing":
		return "The audit cannot be written"
	case v.Redis.State == "failing":
		return "Redis fails"
	case v.Redis.Severity == severityWarning:
		return "Redis is left alone"
	}
	return "All is well"
}

// strip writes what is true of the sidecar as a whole.
func (v view) strip(h *htmlText) {
	h.add(`<section aria-labelledby="sidecar">
<h2 id="sidecar">Sidecar</h2>
<dl class="card strip">
<div><dt>Redis</dt><dd data-redis="{}">`, v.Redis.State)
	switch v.Redis.State {
	case "off":
		h.add("off: tokens are not shared")
	case "unused":
		h.add("on, not tried yet")
	case "sharing":
		h.add("sharing tokens")
	case "failing":
		h.add(`<span class="mark" aria-hidden="true">!</span> tokens are not shared as they should be ({})`, v.Redis.Cause)
		if len(v.Redis.Missing) > 0 {
			h.add("; the user lacks {}", strings.Join(v.Redis.Missing, ", "))
		}
	default:
		h.add(`<span class="mark" aria-hidden="true">!</span> left alone since `)
		h.time(v.Redis.Since, v.Redis.Since.Format(time.TimeOnly)+" UTC")
		h.add(" ({})", v.Redis.Cause)
	}
	h.add("</dd></div>\n")
	switch v.Audit.State {
	case "on":
		h.term("Audit", func() { h.add("on") })
	case "failing":
		h.term("Audit", func() {
			h.add(`<span class="mark" aria-hidden="true">!</span> lines cannot be written ({}): requests for subjects are refused`, v.Audit.Cause)
		})
	}
	h.term("Up", func() { h.time(v.Started, inWords(v.Time.Sub(v.Started))) })
	h.term("Build", func() { h.add("{}, {}", v.Version, v.GoVersion) })
	h.add("</dl>\n</section>\n")
}
