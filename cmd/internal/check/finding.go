package check

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// finding says in plain words what is wrong with an outcome (a token request that failed, a
// token of narrower scope, or a Redis that cannot be used) and what to do.
type finding struct{ cause, mend string }

// explain returns what the first rule that matches says of a failure.
func explain(f failure) finding {
	for _, r := range rules[f.Class] {
		if r.matches(f) {
			return finding{fill(r.cause, f), fill(r.mend+otherwise(f), f)}
		}
	}
	return finding{fill("{reason}", f), fill("check {url} and the credential, then ask the provider", f)}
}

// otherwise returns what else to mend if the credential turns out to be right,
// where a 401 that is taken for a refused credential names something else.
func otherwise(f failure) string {
	if f.Class != upstream.ClassCredential {
		return ""
	}
	switch f.Code {
	case "unauthorized_client", "access_denied", "unsupported_grant_type":
		return "; if all that is right, have the provider enable the client credentials grant for the client"
	case "invalid_scope":
		return "; if all that is right, correct {X}SCOPE"
	}
	return ""
}

// fill puts the facts of f into the text of a rule.
func fill(text string, f failure) string {
	e := f.endpoint
	status := "no status"
	if f.Status != 0 {
		status = "status " + strconv.Itoa(f.Status)
	}
	institution := "the institution of " + e.Section + "INSTITUTION"
	if f.given {
		institution = "the institution given with --subject"
	}
	subject := institution
	if e.Family != "oclc" {
		subject = "the subject given with --subject"
	}
	wait := "some minutes"
	if f.RetryAfter > 0 {
		wait = f.RetryAfter.Round(time.Second).String()
	}
	return strings.NewReplacer(
		"{X}", e.Section,
		"{credential}", f.credential(),
		"{url}", e.Where,
		"{roots}", "SIDECAR_CA_FILE",
		"{host}", e.URL.Host,
		"{timeout}", e.Timeout.String(),
		"{auth}", e.Setting("AUTH"),
		"{environment}", e.Setting("ENVIRONMENT"),
		"{status}", status,
		"{reason}", f.Reason,
		"{skew}", f.skewText(),
		"{institution}", institution,
		"{subject}", subject,
		"{wait}", wait,
	).Replace(text)
}

// explainNarrow explains a token that was granted less than was asked for. section is
// how the variables of its upstream begin.
func explainNarrow(section string, asked, granted string) finding {
	var lacking []string
	for item := range strings.FieldsSeq(asked) {
		if !slices.Contains(strings.Fields(granted), item) {
			lacking = append(lacking, item)
		}
	}
	return finding{
		"the provider granted less scope than was asked for; it left out " + strings.Join(lacking, " "),
		"have the provider give the client these scopes, or take them out of " + section + "SCOPE; " +
			section + "NARROW_SCOPE=refuse makes such tokens an error",
	}
}
