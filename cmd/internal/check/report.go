package check

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

// Outcomes of a row.
const (
	outcomeOK      = "ok"
	outcomeFailed  = "failed"
	outcomeUntried = "not_tried"
)

// row is what check reports of one token, of a target or of Redis: a line of the table, and an
// object of the JSON.
type row struct {
	Upstream     string   `json:"upstream,omitempty"`
	Kind         string   `json:"kind,omitempty"`
	Route        string   `json:"route,omitempty"`   // of a target, in place of kind
	Mode         string   `json:"mode,omitempty"`    // of Redis, in place of upstream and kind
	Subject      string   `json:"subject,omitempty"` // where it came from, not what it is
	Host         string   `json:"host"`
	Outcome      string   `json:"outcome"`
	Class        string   `json:"class,omitempty"` // of the failure; of targets and Redis: unreachable, or refused
	Code         string   `json:"code,omitempty"`  // of the provider or Redis, or of RFC 9209 for a connection
	Status       int      `json:"status,omitempty"`
	SkewSeconds  int      `json:"clock_skew_seconds,omitempty"` // the provider's clock minus ours
	AskedScope   string   `json:"asked_scope,omitempty"`
	GrantedScope string   `json:"granted_scope,omitempty"` // empty if the answer did not say
	Lifetime     int      `json:"lifetime_seconds,omitempty"`
	Missing      []string `json:"missing,omitempty"` // rights that the user of Redis lacks
	Milliseconds int64    `json:"milliseconds"`
	Cause        string   `json:"cause,omitempty"`
	Mend         string   `json:"mend,omitempty"`
}

// rowsOf makes the report of tries that were made.
func rowsOf(tries [][]*tokenTry) []row {
	var rows []row
	for _, list := range tries {
		// Two tries with one failure: the first kept the second from being made,
		// because its token buys the other or their credential is the same.
		first := map[*upstream.Error]finding{}
		for _, t := range list {
			row := t.row()
			if cause := causeOf(t.err); cause != nil {
				found, again := first[cause]
				if !again {
					found = explain(t.failure(cause))
					first[cause] = found
				}
				row.Cause, row.Mend = found.cause, found.mend
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// row returns what is known without judging failures.
func (t *tokenTry) row() row {
	row := row{
		Upstream: t.endpoint.Name, Kind: string(t.kind), Subject: t.shown, Host: t.endpoint.URL.Host,
		Outcome: outcomeOK, AskedScope: t.key.Scope, Milliseconds: t.took.Milliseconds(),
	}
	if t.key == (upstream.Key{}) {
		row.Outcome, row.Mend = outcomeUntried, "add --subject "+t.endpoint.Name+"=..."
		if t.kind == upstream.KindExchanged {
			row.Mend = "send a request with the bearer token of a user: only such a token is exchanged"
		}
		return row
	}
	if t.given == "" && t.key.Subject != "" {
		row.Subject = "(default)"
	}
	if cause := causeOf(t.err); cause != nil {
		row.Outcome, row.Class, row.Status = outcomeFailed, string(cause.Class), cause.Status
		row.Code = t.failure(cause).code()
		row.SkewSeconds = int(cause.Skew.Round(time.Second) / time.Second)
		return row
	}
	row.GrantedScope = t.masked(t.token.Scope())
	row.Lifetime = int(t.token.Expiry().Sub(t.token.Issued()).Round(time.Second) / time.Second)
	if upstream.Narrower(t.token.Scope(), t.key.Scope) {
		found := explainNarrow(t.endpoint.Section, t.key.Scope, t.token.Scope())
		row.Cause, row.Mend = found.cause, found.mend
	}
	return row
}

// failure returns the facts that explain why t failed with cause.
func (t *tokenTry) failure(cause *upstream.Error) failure {
	return failure{cause, t.endpoint, t.kind, t.given != ""}
}

// masked takes the given subject out of a scope: OCLC grants context:<subject>.
func (t *tokenTry) masked(scope string) string {
	if t.given == "" {
		return scope
	}
	return strings.ReplaceAll(scope, t.given, t.shown)
}

// writeJSON writes all rows as one object; ok says whether all is good.
func writeJSON(w io.Writer, rows, targets, redis []row, ok bool) error {
	targets = slices.Clone(targets)
	for i := range targets {
		targets[i].Kind = ""
	}
	var shared *row
	for _, r := range redis {
		r.Upstream, r.Kind, r.Mode = "", "", r.Kind
		shared = &r
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(struct {
		OK       bool  `json:"ok"`
		Requests []row `json:"requests"`
		Targets  []row `json:"targets"`
		Redis    *row  `json:"redis,omitempty"`
	}{ok, rows, targets, shared})
}

// writeText writes the table, and under it what is wrong and why.
func writeText(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "UPSTREAM\tKIND\tSUBJECT\tHOST\tOUTCOME\tSCOPE\tLIFE\tMS")
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r.cells(), "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, findingsText(rows))
	return err
}

// findingsText says once what neighbouring rows have in common.
func findingsText(rows []row) string {
	var text strings.Builder
	for len(rows) > 0 {
		r, n := rows[0], 1
		for n < len(rows) && rows[n].sameFinding(r) {
			n++
		}
		if r.Mend != "" {
			labels := make([]string, n)
			for i := range n {
				labels[i] = strings.TrimSpace(rows[i].Kind + " " + rows[i].Subject)
			}
			fmt.Fprintf(&text, "\n%s %s: %s\n", r.Upstream, strings.Join(labels, ", "), r.outcome())
		}
		if r.Cause != "" {
			config.Wrap(&text, "cause: "+r.Cause, "  ")
		}
		if r.Mend != "" {
			config.Wrap(&text, "mend: "+r.Mend, "  ")
		}
		rows = rows[n:]
	}
	return text.String()
}

// sameFinding reports whether two rows have the same to say.
func (r row) sameFinding(other row) bool {
	return r.Upstream == other.Upstream && r.Outcome == other.Outcome && r.Cause == other.Cause && r.Mend == other.Mend
}

// cells returns the columns of the row.
func (r row) cells() []string {
	scope, life, took := r.GrantedScope, "-", strconv.FormatInt(r.Milliseconds, 10)
	switch {
	case r.Outcome == outcomeUntried:
		took = "-"
	case r.Route != "": // no token
	case r.Outcome == outcomeOK:
		if scope == "" && r.AskedScope != "" {
			scope = r.AskedScope + " (as asked)"
		}
		life = (time.Duration(r.Lifetime) * time.Second).String()
	}
	return []string{r.Upstream, r.Kind, dash(r.Subject), r.Host, r.outcome(), dash(shorten(scope)), life, took}
}

// outcome returns ok or class/code, with the status where there is no code.
func (r row) outcome() string {
	switch {
	case r.Outcome == outcomeUntried:
		return "not tried"
	case r.Outcome == outcomeOK && r.Cause != "":
		return "ok, narrow"
	case r.Outcome == outcomeOK:
		return "ok"
	case r.Code != "":
		return r.Class + "/" + r.Code
	case r.Status != 0:
		return r.Class + "/" + strconv.Itoa(r.Status)
	}
	return r.Class
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// shorten keeps a long scope from stretching the table; JSON has all of it.
func shorten(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	return s[:limit] + "..."
}
