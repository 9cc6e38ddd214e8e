package status

import "time"

// card writes one upstream, the i-th.
func (v view) card(h *htmlText, i int, u upstreamReport) {
	h.add(`<article class="card {}" id="u{}" aria-labelledby="n{}" data-upstream="{}" data-state="{}">
<div class="title"><h3 id="n{}">{}</h3> <p class="state"><span class="mark" aria-hidden="true">{}</span>{}</p></div>
<p class="meaning">{}</p>
<dl>
`, u.Severity, i, i, u.Name, u.State, i, u.Name, symbol(u.Severity), u.Label, u.Meaning)
	if u.Failure != nil {
		h.term("Cause", func() { u.Failure.cause(h) })
	}
	if !u.NextAttempt.IsZero() {
		h.term("Next attempt", func() { h.time(u.NextAttempt, v.in(u.NextAttempt)) })
	}
	h.add(`<div><dt>Tokens</dt><dd class="tokens" data-fresh="{}" data-stale="{}" data-invalid="{}">`,
		u.Tokens.Fresh, u.Tokens.Stale, u.Tokens.Invalid)
	h.add("<span>{} fresh</span> <span>{} stale</span> <span>{} invalid</span></dd></div>\n",
		u.Tokens.Fresh, u.Tokens.Stale, u.Tokens.Invalid)
	if p := u.Pinned; p != nil {
		h.term("Kept token", func() {
			if p.Usable == 0 {
				h.add("none")
				return
			}
			h.add("usable for ")
			h.time(p.Expiry, v.left(p.Expiry))
		})
	}
	if u.Failure == nil {
		h.term("Next refresh", func() { v.refresh(h, u) })
	}
	h.add(`<div><dt>Last token request</dt><dd class="last">`)
	v.last(h, u.Last)
	h.add("</dd></div>\n")
	if u.Budget != nil {
		h.term("Budget", func() { v.budget(h, u.Budget) })
	}
	if u.Connections.Distrusted {
		h.term("Target", func() {
			h.add("sent bytes that belong to no answer; for an hour each HTTP/1.1 request has a connection of its own")
		})
	}
	if u.Refused > 0 && u.Failure == nil {
		h.term("Refused", func() { h.add("{} of the keys in memory get no token from the provider", u.Refused) })
	}
	h.add("</dl>\n")
	v.recent(h, u)
	h.add("</article>\n")
}

// cause writes why token requests fail.
func (f *failureReport) cause(h *htmlText) {
	h.add("{}", f.Reason)
	if f.Status != 0 {
		h.add(", status {}", f.Status)
	}
	f.code(h)
}

func (f *failureReport) code(h *htmlText) {
	if f != nil && f.Code != "" {
		h.add(", <code>{}</code>", f.Code)
	}
}

// refresh writes when the kept token is replaced next, and another one if that
// is sooner.
func (v view) refresh(h *htmlText, u upstreamReport) {
	next, loading := u.NextRefresh, u.Loading > 0 && u.NextRefresh.IsZero()
	if u.Pinned != nil {
		next, loading = u.Pinned.NextRefresh, u.Pinned.Loading > 0
	}
	switch {
	case loading:
		h.add("under way")
	case next.IsZero():
		h.add("none planned")
	default:
		h.time(next, v.in(next))
	}
	if !u.NextRefresh.IsZero() && (next.IsZero() || u.NextRefresh.Before(next)) {
		h.add("; of all keys ")
		h.time(u.NextRefresh, v.in(u.NextRefresh))
	}
}

func (v view) last(h *htmlText, last *tokenRequestShown) {
	if last == nil {
		h.add("none since the start")
		return
	}
	h.time(last.Time, v.ago(last.Time))
	h.add(": {}", last.Outcome)
	last.Failure.code(h)
	h.add(", took {}", took(time.Duration(last.Duration*float64(time.Second))))
}

// budget writes what all replicas may ask for, and what came of it here.
func (v view) budget(h *htmlText, b *budgetReport) {
	h.add("{} for all replicas", perTime(b.PerSecond))
	switch b.Waiting {
	case 0:
	case 1:
		h.add("; 1 waits for its turn")
	default:
		h.add("; {} wait for their turn", b.Waiting)
	}
	if !b.PutOff.IsZero() {
		h.add("; a request was put off ")
		h.time(b.PutOff, v.ago(b.PutOff))
	}
	if b.Stopped != "" {
		h.add("; stopped by another replica: {}, next token request ", b.Stopped)
		h.time(b.StoppedUntil, v.in(b.StoppedUntil))
	}
	if b.WithoutRedis {
		h.add("; Redis cannot be asked: TOKEN_RATE of each replica holds")
	}
}

// recent writes the table of the last minutes.
func (v view) recent(h *htmlText, u upstreamReport) {
	h.add(`<table>
<caption class="unseen">Requests to {} in the last minutes</caption>
<thead><tr><th scope="col">Requests in the last</th>`, u.Name)
	for _, r := range u.Recent {
		h.add(`<th scope="col">{} min</th>`, r.Minutes)
	}
	h.add("</tr></thead>\n<tbody>\n")
	for _, row := range []struct {
		name  markup
		cell  markup
		count func(recentReport) uint64
	}{
		{"answered", "<td>{}</td>", func(r recentReport) uint64 { return r.Requests }},
		{"waited for a token", "<td>{}</td>", func(r recentReport) uint64 { return r.Waited }},
		{"got no token", `<td class="some">{}</td>`, func(r recentReport) uint64 { return r.Failed }},
	} {
		h.add(`<tr><th scope="row">` + row.name + "</th>")
		for _, r := range u.Recent {
			cell := row.cell
			n := row.count(r)
			if n == 0 {
				cell = "<td>{}</td>"
			}
			h.add(cell, apart(n))
		}
		h.add("</tr>\n")
	}
	h.add("</tbody>\n</table>\n")
}
