package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// kindShortToken stands in a row for the kind of token.
const kindShortToken = "short_token"

// shortTokens asks for one short access token where a route needs them, as that of a
// Dedicated Connection at Mydex PDX does, and returns a row for each. It blocks for one
// TokenTimeout each at most.
func (c *Config) shortTokens(ctx context.Context) []row {
	var rows []row
	for _, u := range c.Upstreams {
		for _, r := range u.Routes() {
			if source, ok := r.Fields.(upstream.FieldTrier); ok {
				rows = append(rows, c.tryShortToken(ctx, u.Name(), r.Target.Host, source))
			}
		}
	}
	return rows
}

// tryShortToken asks for one short access token at host.
func (c *Config) tryShortToken(ctx context.Context, name, host string, source upstream.FieldTrier) row {
	ctx, cancel := context.WithTimeout(ctx, c.TokenTimeout)
	defer cancel()
	began := time.Now()
	cause := causeOf(source.Try(ctx))
	result := row{Upstream: name, Kind: kindShortToken, Host: host, Outcome: outcomeOK, Milliseconds: time.Since(began).Milliseconds()}
	if cause == nil {
		return result
	}
	f := failure{Error: cause}
	result.Outcome, result.Class, result.Status, result.Code = outcomeFailed, string(cause.Class), cause.Status, f.code()
	section := c.Endpoints[name].Section
	found := finding{cause: cause.Reason, mend: "check {X}CONNECTION_NID, and that {url} is the API host of the environment that the connection is in"}
	if cause.Status != 0 {
		found.cause += fmt.Sprintf(", status %d", cause.Status)
	}
	for _, rule := range connectionRules {
		if slices.Contains(strings.Fields(rule.codes), result.Code) {
			found = finding{rule.cause, rule.mend}
			break
		}
	}
	fill := strings.NewReplacer("{X}", section, "{url}", section+"TARGET", "{roots}", "SIDECAR_CA_FILE", "{host}", host, "{timeout}", c.TokenTimeout.String())
	result.Cause, result.Mend = fill.Replace(found.cause), fill.Replace(found.mend)
	return result
}
