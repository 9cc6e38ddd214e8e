package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// shownLife is short enough to watch refreshes.
const shownLife = 30 * time.Second

// example is a request for people to try, and the token that it is sent with.
type example struct {
	about string
	request
	kind, subject string
}

func examples() []example {
	return []example{
		{"MyDataHelps, service token", projects, upstreamtest.KindService, ""},
		{"MyDataHelps, participant token", participant.as("P-1001"), upstreamtest.KindParticipant, "P-1001"},
		{"the same, for clients that can set no header", participant.as("P-1001").inPath(), upstreamtest.KindParticipant, "P-1001"},
		{"PDX", members, upstreamtest.KindClient, ""},
		{"OCLC, default institution", bibs, upstreamtest.KindClient, homeInstitution},
		{"OCLC, another institution", bibs.as("91475"), upstreamtest.KindClient, "91475"},
		{"Human API, a user's data", profile.as("user-42"), upstreamtest.KindAccess, "user-42"},
		{"Human API, HIP client token", users, upstreamtest.KindClient, ""},
		{"any OAuth 2.0 API", books, upstreamtest.KindClient, ""},
		{"a second sidecar, which finds the token in Redis", participant.as("P-1001").by(byReplica), upstreamtest.KindParticipant, "P-1001"},
		{"dedicated listener, for clients that can set only a host", bibs.by(byListener), upstreamtest.KindClient, homeInstitution},
		{"http_proxy, for clients that keep the API's own URL", books.by(byProxy), upstreamtest.KindClient, ""},
	}
}

// introduce says what there is to try: comments and commands, so that all of
// it can be pasted.
func (d *demo) introduce(w io.Writer) {
	_, _ = fmt.Fprintf(w, "# The sidecar at %s with simulated providers; tokens live %s. Ctrl-C ends it.\n", d.address("data"), shownLife)
	_, _ = fmt.Fprintln(w, "# Each answer says whose token arrived.")
	for _, e := range examples() {
		_, _ = fmt.Fprintf(w, "\n# %s\n%s\n", e.about, d.curl(e.request))
	}
	_, _ = fmt.Fprintf(w, "\n# status page: http://%s/\n# metrics\ncurl http://%s/metrics\n\n# Token requests, as the providers see them:\n", d.address("admin"), d.address("admin"))
}

// watch prints a line for each token request until ctx ends.
func (d *demo) watch(ctx context.Context, w io.Writer) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	last := map[string]upstreamtest.TokenRequest{}
	type seen struct {
		upstreamtest.TokenRequest
		by string
	}
	for {
		var news []seen
		for _, name := range upstreams() {
			for _, r := range after(last[name], d.providers.of(name).TokenRequestLog()) {
				news = append(news, seen{r, name})
				last[name] = r
			}
		}
		slices.SortFunc(news, func(a, b seen) int { return a.Time.Compare(b.Time) })
		for _, r := range news {
			_, _ = fmt.Fprintf(w, "%s  %-11s  for %-12s  %s\n", r.Time.Format(time.TimeOnly), r.by, cmp.Or(r.Subject, "itself"), r.Outcome)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// after returns what the log, which keeps only its latest entries, holds
// behind last.
func after(last upstreamtest.TokenRequest, log []upstreamtest.TokenRequest) []upstreamtest.TokenRequest {
	for i := len(log) - 1; i >= 0; i-- {
		if log[i].Time.Equal(last.Time) && log[i].Subject == last.Subject && log[i].Body == last.Body {
			return log[i+1:]
		}
	}
	return log
}
