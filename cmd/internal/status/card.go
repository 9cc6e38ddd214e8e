package status

import (
	"math"
	"strconv"
	"time"
)

// card writes what is true of one upstream, the i-th of the page.
func (v view) card(h *htmlText, i int, u upstreamReport) {
	h.add(`<article class="card {}" id="u{}" aria-labelledby="n{}" data-upstream="{}" data-state="{}">
<div class="title"><h3 id="n{}">{}</h3> <p class="state"><span class="mark" aria-hidden="true">{}</span>{}</p></div>
<p class="meaning">{}</p>
<dl>
`, u.Severity, i, i, u.Name, u.State, i, u.Name, symbol(u.Severity), u.Label, u.Meaning)
	if f := u.Failure; f != nil {
		h.term("Cause", func() { h.cause(f) })
	}
	if !u.NextAttempt.IsZero() {
		h.term("Next attempt", func() { v.when(h, u.NextAttempt) })
	}
	t := u.Tokens
	h.add(`<div><dt>Tokens</dt><dd class="tokens" data-fresh="{}" data-stale="{}" data-invalid="{}">`, t.Fresh, t.Stale, t.Invalid)
	h.add("<span>{} fresh</span> <span>{} stale</span> <span>{} invalid</span></dd></div>\n", t.Fresh, t.Stale, t.Invalid)
	if p := u.Pinned; p != nil {
		h.term("Kept token", func() {
			if p.Usable == 0 {
				h.add("none")
				return
			}
			h.add("usable for ")
			h.time(p.Expiry, inWords(p.Expiry.Sub(v.Time)))
		})
	}
	if u.Failure == nil {
		h.term("Next refresh", func() { v.refresh(h, u) })
	}
	h.add(`<div><dt>Last token request</dt><dd class="last">`)
	v.last(h, u.Last)
	h.add("</dd></div>\n")
	if u.Objective != nil {
		h.term("Token at once", func() { h.objective(u.Objective) })
	}
	if u.Budget != nil {
		h.term("Budget", func() { v.budget(h, u.Budget) })
	}
	if cause := u.Connections.Unreachable; cause != "" {
		h.term("Target", func() { h.add("no answer to the last request: <code>{}</code>", cause) })
	}
	if u.Connections.Distrusted {
		h.term("Target", func() {
			h.add("sent bytes that belong to no answer; for an hour each HTTP/1.1 request has a connection of its own")
		})
	}
	if u.Refused > 0 && u.Failure == nil {
		h.term("Refused", func() { h.add("{} of the keys in memory get no token from the provider", u.Refused) })
	}
	h.add("</dl>\n</article>\n")
}

// cause writes why token requests fail.
func (h *htmlText) cause(f *failureReport) {
	h.add("{}", f.Reason)
	if f.Status != 0 {
		h.add(", status {}", f.Status)
	}
	h.code(f)
	if f.Skew != 0 {
		h.add("; its clock and this one are {} s apart", math.Abs(f.Skew))
	}
}

// refresh writes when the kept token is replaced next, and when another one is if
// that is sooner.
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
		v.when(h, next)
	}
	if !u.NextRefresh.IsZero() && (next.IsZero() || u.NextRefresh.Before(next)) {
		h.add("; of all keys ")
		v.when(h, u.NextRefresh)
	}
}

// last writes when the last token request was made and what came of it.
func (v view) last(h *htmlText, last *tokenRequestReport) {
	if last == nil {
		h.add("none since the start")
		return
	}
	v.when(h, last.Time)
	h.add(": {}", last.Outcome)
	h.code(last.Failure)
	h.add(`, <span class="took">took {}</span>`, inSeconds(last.Duration))
}

// objective writes how many requests had their token at once, and what is left of those that may not.
func (h *htmlText) objective(o *objectiveReport) {
	h.add("{} % of {} request", percent(o.AtOnce), o.Requests)
	if o.Requests != 1 {
		h.add("s")
	}
	switch {
	case float64(o.Requests)*mayWait < 1: // one that waited would spend the whole budget
	case o.BudgetLeft < 0:
		h.add("; the objective is {} %", percent(1-mayWait))
	default:
		h.add("; {} % of the error budget is left", percent(o.BudgetLeft))
	}
}

// percent writes a share in percent with two decimals at most, the rest cut off. The share comes
// rounded to six decimals.
func percent(share float64) string {
	return strconv.FormatFloat(math.Floor(share*1e4+1e-6)/100, 'f', -1, 64)
}

// budget writes how many token requests all replicas may make together, and what
// this replica met of that limit.
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
		v.when(h, b.PutOff)
	}
	if b.Stopped != "" {
		h.add("; stopped by another replica: {}, next token request ", b.Stopped)
		v.when(h, b.StoppedUntil)
	}
	if b.WithoutRedis {
		h.add("; Redis cannot be asked: TOKEN_RATE of each replica holds")
	}
}

// code writes the error code of a failure, if there is one.
func (h *htmlText) code(f *failureReport) {
	if f != nil && f.Code != "" {
		h.add(", <code>{}</code>", f.Code)
	}
}

// when writes how far a time is from that of the report, in either direction.
func (v view) when(h *htmlText, t time.Time) {
	words := "now"
	switch d := t.Sub(v.Time); {
	case d >= time.Second:
		words = "in " + inWords(d)
	case d <= -time.Second:
		words = inWords(-d) + " ago"
	}
	h.time(t, words)
}
