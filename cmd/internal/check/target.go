package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

// kindTarget stands in a row for the kind of token.
const kindTarget = "target"

// target is an API that an upstream has, and a token that may go there.
type target struct {
	route upstream.Route
	token upstream.Token // zero if there is none
}

// reachTargets opens a connection to each target, all at once, and returns a row for each.
// No request is sent, and no token. It blocks as Reach does.
func (c *Config) reachTargets(ctx context.Context, tries [][]*tokenTry) []row {
	if c.Reach == nil {
		return nil
	}
	var all []target
	for i, u := range c.Upstreams {
		all = append(all, targetsOf(u, tries[i])...)
	}
	rows := make([]row, len(all))
	var each sync.WaitGroup
	for i, t := range all {
		each.Go(func() { rows[i] = c.reach(ctx, t) })
	}
	each.Wait()
	return rows
}

// targetsOf lists the targets of u, each once. The token decides which client certificate is
// presented.
func targetsOf(u upstream.Upstream, tries []*tokenTry) []target {
	var all []target
	for _, r := range u.Routes() {
		same := func(other target) bool {
			return other.route.Target.Scheme == r.Target.Scheme && other.route.Target.Host == r.Target.Host
		}
		if slices.ContainsFunc(all, same) {
			continue
		}
		next := target{route: r}
		for _, t := range tries {
			if t.kind == r.Kind && t.err == nil {
				next.token = t.token
			}
		}
		all = append(all, next)
	}
	return all
}

// reach opens a connection to one target and says what came of it.
func (c *Config) reach(ctx context.Context, t target) row {
	name, sub, _ := strings.Cut(t.route.Name, ".")
	e := c.Endpoints[name]
	result := row{Upstream: name, Kind: kindTarget, Route: t.route.Name, Host: t.route.Target.Host, Outcome: outcomeOK}
	if e.Setting("CERT_KEY") != "" && t.token.Certificate() == nil {
		result.Outcome, result.Mend = outcomeUntried, "get a token first: the API is shown the certificate that it is bound to"
		return result
	}
	began := time.Now()
	err := c.Reach(ctx, t.route, t.token)
	result.Milliseconds = time.Since(began).Milliseconds()
	if err == nil {
		return result
	}
	result.Outcome, result.Class, result.Code = outcomeFailed, classUnreachable, upstream.ConnError(err)
	if ctx.Err() != nil {
		result.Code, result.Cause, result.Mend = "", "the check was interrupted", "run check again"
		return result
	}
	fill := strings.NewReplacer("{X}", e.Section, "{url}", targetSetting(e, sub), "{roots}", "SIDECAR_CA_FILE", "{host}", result.Host)
	f := failure{&upstream.Error{Cause: result.Code}, e, t.route.Kind, false}
	for _, rule := range targetRules {
		if rule.matches(f) {
			result.Cause, result.Mend = fill.Replace(rule.cause), fill.Replace(rule.mend)
			return result
		}
	}
	panic("the last rule matches every code")
}

// targetSetting returns the variable that has the target of the route that is called
// upstream.sub, or of the main route if sub is empty.
func targetSetting(e *config.TokenEndpoint, sub string) string {
	for item := range strings.SplitSeq(e.Setting("TARGETS"), ",") {
		if name, _, _ := strings.Cut(item, "="); sub != "" && name == sub {
			return e.Section + "TARGETS"
		}
	}
	return e.Section + "TARGET"
}

// targetRules are the known causes of failures to reach a target beside those of egress and
// connectionRules. The last matches every code.
var targetRules = slices.Concat([]rule{
	{when: presents, codes: "tls_alert_received",
		cause: "{host} refuses the client certificate: it is not trusted there or has expired; or {host} wants another version of TLS than 1.2 or 1.3",
		mend:  "compare {X}CERT with what is registered at the provider; then check {url}"},
	{codes: "tls_alert_received",
		cause: "{host} refuses the TLS handshake: it wants a client certificate, or another version than 1.2 or 1.3",
		mend:  "if the API wants a client certificate, set {X}CERT and {X}CERT_KEY; else check host and port of {url}"},
	{codes: "http_response_timeout",
		cause: "{host} takes the connection and does not go on with the TLS handshake",
		mend:  "check scheme, host and port of {url}, and what stands between this machine and them"},
}, egressRules, connectionRules, []rule{{
	cause: "the API at {host} cannot be reached",
	mend:  "check {url}"},
})

// judgeTargets returns the verdict on the rows of targets, nil if they are good.
func judgeTargets(rows []row) error {
	failed := 0
	for _, r := range rows {
		if r.Outcome == outcomeFailed {
			failed++
		}
	}
	if failed == 0 {
		return nil
	}
	return fmt.Errorf("check: targets that cannot be reached: %d", failed)
}
