package upstreamtest

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// NewMyDataHelps starts a simulated MyDataHelps (developer.mydatahelps.org:
// authentication, API basics and limits; participant access tokens page;
// CareEvolution quickstart repositories).
//
// The client_credentials grant takes an RS256 assertion of the service account
// in a form body, no client_id and no Basic header. The delegated_participant
// grant takes the published client id and secret, and a service token in the
// field token. Every token error is 400, as IdentityServer has it, and its
// body holds nothing but error; the log says more. An unknown participant and
// a dead service token are both invalid_grant.
//
// The API sends RateLimit headers with every answer, for the service account
// and for each participant on its own. Its hosts are the main one, which takes
// both kinds of tokens, and "designer".
//
// Decided here, since no source says so: "designer" takes service tokens only
// (401 otherwise); aud of the assertion must be one string, as every known
// client sends it, not a list; a request without an Accept header, which the documentation
// requires, is answered 406; an unknown scope is invalid_scope. It panics if
// loopback has no free port.
func NewMyDataHelps(o Options) *Server {
	if o.Scopes == nil {
		o.Scopes = []string{
			"api", "AppleHealthActivitySummaries:read", "AppleHealthWorkouts:read", "CustomEvents:write",
			"DataCollectionSettings:read", "DeviceData:read", "DeviceData:write", "ExternalAccounts:connect",
			"ExternalAccounts:read", "ExternalAccounts:write", "FitbitDataSummary:read", "FitbitDailySummaries:read",
			"FitbitSleepLogs:read", "Notifications:read", "Participant:read", "Project:read", "SurveyAnswers:read",
			"SurveyResults:write", "SurveyTasks:read", "user/*.read",
		}
	}
	s := newServer("mydatahelps", "MyDataHelps.4242.sidecar", "", o)
	s.secret = ""
	return s.start(&myDataHelps{Server: s}, []string{"/identityserver/connect/token"}, "designer")
}

// myDataHelps is what is special about the simulated MyDataHelps.
type myDataHelps struct {
	*Server
	quota quota
}

func (*myDataHelps) subject(c *call) string {
	fields, _ := parseFields(c.body)
	return fields["participant_id"]
}

func (m *myDataHelps) exchange(c *call) *Answer {
	fields, reason := c.form()
	if reason != "" {
		return bareError("invalid_request", reason)
	}
	if len(c.r.Header.Values("Authorization")) > 0 {
		return bareError("invalid_client", "an Authorization header")
	}
	switch fields["grant_type"] {
	case "client_credentials":
		return m.service(fields)
	case "delegated_participant":
		return m.participant(fields)
	case "":
		return bareError("invalid_request", "field missing: grant_type")
	}
	return bareError("unsupported_grant_type", "grant_type is neither client_credentials nor delegated_participant")
}

func (m *myDataHelps) service(fields map[string]string) *Answer {
	if reason := wrongFields(fields, "scope", "grant_type", "client_assertion_type", "client_assertion"); reason != "" {
		return bareError("invalid_request", reason)
	}
	if fields["client_assertion_type"] != assertionType {
		return bareError("invalid_client", "client_assertion_type is not jwt-bearer")
	}
	if reason := m.wrongAssertion(fields["client_assertion"]); reason != "" {
		return bareError("invalid_client", reason)
	}
	if fields["scope"] != "api" {
		return bareError("invalid_scope", "scope of a service token is not api")
	}
	return m.issue(newToken("svc-"), KindService, "", "api")
}

// delegatedClients are the three client ids that CareEvolution has published.
var delegatedClients = []string{
	"RKStudio.DelegatedParticipant", "MyDataHelps.DelegatedParticipant", "MyDataHelps-Web.DelegatedParticipant",
}

func (m *myDataHelps) participant(fields map[string]string) *Answer {
	if reason := wrongFields(fields, "scope", "grant_type", "participant_id", "client_id", "client_secret", "token"); reason != "" {
		return bareError("invalid_request", reason)
	}
	if !slices.Contains(delegatedClients, fields["client_id"]) || fields["client_secret"] != "secret" {
		return bareError("invalid_client", "client_id or client_secret is not the published one")
	}
	parent := m.tokens.valid(fields["token"])
	if parent == nil || parent.Kind != KindService {
		return bareError("invalid_grant", "token is not a living service token")
	}
	if !allows(m.opts.KnowsParticipant, fields["participant_id"]) {
		return bareError("invalid_grant", "participant is unknown")
	}
	if reason := wrongScope(fields["scope"], m.opts.Scopes); reason != "" {
		return bareError("invalid_scope", reason)
	}
	return m.issue(newToken("ptc-"), KindParticipant, fields["participant_id"], fields["scope"])
}

// issue answers with the three documented members: the scope is not among them.
func (m *myDataHelps) issue(token, kind, subject, scope string) *Answer {
	g := m.tokens.issue(token, Grant{Kind: kind, Client: m.id, Subject: subject, Scope: scope})
	return jsonAnswer(http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": g.expiresIn(),
	}).because(OutcomeIssued, "")
}

// bareError is a token error of IdentityServer: 400, whatever it is.
func bareError(code, reason string) *Answer {
	return OAuthError(http.StatusBadRequest, code).because(code, reason)
}

func (m *myDataHelps) api(host string, r *http.Request, g *Grant, bodyBytes int64) *Answer {
	if g != nil && host == "designer" && g.Kind != KindService {
		g = nil
	}
	a, limits := m.judge(r, g, bodyBytes), m.quota.use(g, m.opts.HourlyLimit)
	if limits.exceeded && g != nil {
		a = textAnswer(http.StatusTooManyRequests, "API rate limit exceeded.")
	}
	a.Header.Set("RateLimit-Limit", strconv.Itoa(limits.limit))
	a.Header.Set("RateLimit-Remaining", strconv.Itoa(limits.remaining))
	a.Header.Set("RateLimit-Reset", strconv.Itoa(limits.reset))
	return a
}

func (m *myDataHelps) judge(r *http.Request, g *Grant, bodyBytes int64) *Answer {
	switch {
	case g == nil:
		return textAnswer(http.StatusUnauthorized, "Missing or invalid access token.")
	case len(r.Header.Values("Accept")) == 0:
		return textAnswer(http.StatusNotAcceptable, "Accept: application/json is required.")
	}
	return m.echo(r, g, bodyBytes)
}

// quota counts API requests by the hour.
type quota struct {
	mu    sync.Mutex // guards the fields below
	start time.Time
	used  map[string]int // by participant; "" is the service account
}

type limits struct {
	limit, remaining int
	reset            int // seconds
	exceeded         bool
}

// use counts one request. A request without a valid token is not counted.
func (q *quota) use(g *Grant, hourlyLimit int) limits {
	l := limits{limit: hourlyLimit}
	if hourlyLimit <= 0 { // the documentation's example for a project without a licence
		l.limit = 1000
		if g != nil && g.Kind == KindParticipant {
			l.limit = 500
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if q.used == nil || now.Sub(q.start) >= time.Hour || len(q.used) >= maxSubjects {
		q.start, q.used = now, map[string]int{}
	}
	used := 0
	if g != nil {
		q.used[g.Subject]++
		used = q.used[g.Subject]
	}
	l.remaining = max(0, l.limit-used)
	l.exceeded = hourlyLimit > 0 && used > l.limit
	l.reset = int((q.start.Add(time.Hour).Sub(now) + time.Second - 1) / time.Second)
	return l
}
