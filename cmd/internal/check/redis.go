package check

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"token-sidecar/cache/shared"
)

// Redis is what a check needs to know of the Redis that tokens are shared through.
type Redis struct {
	Mode string // standalone, sentinel or cluster
	Host string // of the URL
	// Timeout bounds one operation.
	Timeout time.Duration
	// Try tries all that the sidecar does there. Its error is a *shared.TryError.
	Try func(context.Context) error
}

// The classes of failure at Redis.
const (
	classUnreachable = "unreachable"
	classRefused     = "refused"
)

// rows tries Redis and returns the row that tells of it, none if Redis is off.
func (r *Redis) rows(ctx context.Context) []row {
	if r == nil {
		return nil
	}
	began := time.Now()
	err := r.Try(ctx)
	result := row{Upstream: "redis", Kind: r.Mode, Host: r.Host, Outcome: outcomeOK, Milliseconds: time.Since(began).Milliseconds()}
	var failed *shared.TryError
	switch {
	case err == nil:
		return []row{result}
	case !errors.As(err, &failed):
		failed = &shared.TryError{Cause: "connection_terminated"}
	}
	result.Outcome, result.Class, result.Code, result.Missing = outcomeFailed, classUnreachable, failed.Cause, failed.Missing
	if failed.Answered {
		result.Class = classRefused
	}
	found := r.finding(failed)
	result.Cause, result.Mend = found.cause, found.mend
	return []row{result}
}

// judgeRedis returns the verdict on the row of Redis, nil if it is good or there is
// none.
func judgeRedis(rows []row) error {
	for _, r := range rows {
		if r.Outcome != outcomeOK {
			return errors.New("check: Redis cannot be used")
		}
	}
	return nil
}

// redisRules are the known causes of failures at Redis beside connectionRules. The
// first that lists the code is taken; the last lists none and matches every code.
var redisRules = slices.Concat([]rule{
	{codes: "connection_read_timeout",
		cause: "{host} does not answer within {timeout}, which is as long as the sidecar waits",
		mend:  "check host and port of {url}, and how far away and how busy Redis is"},
	{codes: "tls_alert_received",
		cause: "{host} refuses the TLS handshake, as when it wants a client certificate",
		mend:  "set SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE"},
	{codes: "WRONGPASS",
		cause: "wrong user or password",
		mend:  "check user:password@ in SIDECAR_REDIS_URL; in Sentinel mode that of the data servers is in its parameters username and password"},
	{codes: "NOAUTH",
		cause: "Redis wants a password, and SIDECAR_REDIS_URL has none",
		mend:  "write user:password@ before the host in SIDECAR_REDIS_URL"},
	{codes: "NOPERM",
		cause: "the user of SIDECAR_REDIS_URL lacks rights: {missing}",
		mend:  "give the user {rights} with ACL SETUSER; docs/redis.md lists all rights that SIDECAR_REDIS_URL needs"},
	{codes: "master_unknown",
		cause: "the sentinels at {host} know no master of the name that SIDECAR_REDIS_URL has",
		mend:  "set master_name in SIDECAR_REDIS_URL to the name that the sentinels monitor it by"},
	{codes: "READONLY",
		cause: "{host} is a replica of Redis, which takes no writes",
		mend:  "name the master in SIDECAR_REDIS_URL, or set SIDECAR_REDIS_MODE=sentinel"},
	{codes: "OOM",
		cause: "Redis is full: it takes nothing more",
		mend:  "raise its maxmemory or set maxmemory-policy volatile-ttl, at the server that SIDECAR_REDIS_URL names"},
	{codes: "MISCONF",
		cause: "Redis takes no writes, because it cannot save to its disk",
		mend:  "mend the disk of the server that SIDECAR_REDIS_URL names; the sidecar needs nothing saved"},
	{codes: "LOADING BUSY MASTERDOWN CLUSTERDOWN TRYAGAIN",
		cause: "Redis is not ready: it loads its data, runs a long script, or has lost its master or a part of the cluster",
		mend:  "run check again; if it stays, look at the server that SIDECAR_REDIS_URL names"},
	{codes: "MOVED ASK",
		cause: "{host} is a node of a cluster, and SIDECAR_REDIS_MODE is {mode}",
		mend:  "set SIDECAR_REDIS_MODE=cluster"},
}, connectionRules, []rule{{
	cause: "Redis cannot be used: {code}",
	mend:  "check SIDECAR_REDIS_URL and SIDECAR_REDIS_MODE, then the server"},
})

// finding returns what the first rule that matches says.
func (r *Redis) finding(failed *shared.TryError) finding {
	var rights []string
	for _, right := range failed.Missing {
		if !strings.HasPrefix(right, "~") {
			right = "+" + right
		}
		rights = append(rights, right)
	}
	missing := strings.ToUpper(strings.Join(failed.Missing, ", "))
	if slices.ContainsFunc(failed.Missing, func(right string) bool { return strings.HasPrefix(right, "~") }) {
		missing = "those to the names token-sidecar:*"
	}
	if slices.Contains(failed.Missing, "time") {
		missing += ". Without TIME there is no TOKEN_BUDGET of all replicas: each of them makes as many token requests as SIDECAR_TOKEN_RATE allows"
	}
	fill := strings.NewReplacer("{url}", "SIDECAR_REDIS_URL", "{roots}", "SIDECAR_REDIS_CA_FILE", "{host}", r.Host, "{mode}", r.Mode, "{timeout}", r.Timeout.String(), "{code}", failed.Cause,
		"{missing}", missing, "{rights}", strings.Join(rights, " "))
	for _, rule := range redisRules {
		if rule.codes == "" || slices.Contains(strings.Fields(rule.codes), failed.Cause) {
			return finding{fill.Replace(rule.cause), fill.Replace(rule.mend)}
		}
	}
	panic("the last rule matches every code")
}
