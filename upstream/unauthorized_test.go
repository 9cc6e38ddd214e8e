package upstream

import (
	"fmt"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

// unauthorizedForms are the ways in which servers answer 401 to a token request.
var unauthorizedForms = []reply{
	refused(401, `{"error":"unauthorized_client","error_description":"canary"}`), // Keycloak, of a wrong secret
	refused(401, `{"error":"access_denied","error_description":"canary"}`),       // Auth0, of a wrong secret
	refused(401, `{"error":"invalid_client"}`),
	refused(401, `{"message":"canary"}`), // no code
	refused(401, `<!DOCTYPE html><p>canary`).with("Content-Type", "text/html"),
}

// withCodes is what outcome must say of the five forms at an endpoint that is
// read by the codes of RFC 6749.
func withCodes(classes ...string) []string {
	codes := []string{" unauthorized_client", " access_denied", " invalid_client", "", ""}
	for i := range classes {
		classes[i] += codes[i]
	}
	return classes
}

// A 401 without a subject can be meant for nobody but the client, whatever it
// says. With one, what it says decides, and where it leaves open who is meant the
// error says so ("?").
//
// Case U1.
func TestUnauthorizedIsOfTheCredential(t *testing.T) {
	key := newMyDataHelpsSimulation(t, upstreamtest.Options{}).PrivateKey()
	credential := withCodes("credential", "credential", "credential", "credential", "credential")
	institution := func(name string) func(*testing.T, string) (Token, error) {
		return func(t *testing.T, url string) (Token, error) {
			return fetchOCLC(t, newTestOCLC(t, url, func(c *OCLCConfig) { c.Institution = "128807" }), name)
		}
	}
	for _, tt := range []struct {
		name string
		ask  func(t *testing.T, tokenURL string) (Token, error)
		want []string
	}{
		{"pdx", func(t *testing.T, url string) (Token, error) { return fetch(t, newTestPDX(t, url, nil), "") }, credential},
		{"oauth2", func(t *testing.T, url string) (Token, error) { return fetch(t, newTestOAuth2(t, url, nil), "") }, credential},
		{"oauth2 by assertion", func(t *testing.T, url string) (Token, error) {
			return fetch(t, newTestOAuth2(t, url, func(c *OAuth2Config) { c.Auth, c.PrivateKey = AuthPrivateKeyJWT, NewSecret(key) }), "")
		}, credential},
		{"mydatahelps service", func(t *testing.T, url string) (Token, error) {
			return fetchService(t, newTestMyDataHelps(t, url, key, nil))
		}, credential},
		// The delegated client is not the service account: never in doubt.
		{"mydatahelps participant", func(t *testing.T, url string) (Token, error) {
			u := newTestMyDataHelps(t, url, "", nil)
			tokens := newChain(t, u)
			tokens.held[mustKey(t, u, KindService, "", "")] = mustNewToken(t, "svc")
			return u.Fetch(t.Context(), mustKey(t, u, KindParticipant, "alice", ""), tokens)
		}, withCodes("scope", "subject", "scope", "scope", "scope")},
		{"oclc without an institution", func(t *testing.T, url string) (Token, error) {
			return fetchOCLC(t, newTestOCLC(t, url, func(c *OCLCConfig) { c.Institution = "" }), "")
		}, credential},
		{"oclc, default institution", institution(""), credential},
		{"oclc, default institution by name", institution("128807"), credential},
		// Without a code of RFC 6749, OCLC's 401 is of the WSKey (as its documents have it).
		{"oclc, another institution", institution("91475"),
			withCodes("scope?", "subject?", "credential", "credential", "credential")},
		{"humanapi client", func(t *testing.T, url string) (Token, error) {
			return fetchHIPClient(t, newTestHumanAPI(t, url, func(c *HumanAPIConfig) { c.HIP = true }))
		}, []string{"credential", "credential", "credential", "credential", "credential"}}, // codes of its own only
		{"humanapi access", func(t *testing.T, url string) (Token, error) {
			return fetchUser(t, newTestHumanAPI(t, url, nil), testUser)
		}, []string{"subject?", "subject?", "subject?", "subject?", "credential"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScripted(t)
			for i, form := range unauthorizedForms {
				s.answer(form)
				token, err := tt.ask(t, s.url)
				got := inDoubt(t, token, err)
				if got != tt.want[i] {
					t.Errorf("%s is %q, want %q", form.body, got, tt.want[i])
				}
				if e := failure(t, token, err); e.Class == ClassCredential && e.Reason != reasons[ClassCredential] {
					t.Errorf("%s: the reason is %q", form.body, e.Reason)
				}
			}
		})
	}
}

// inDoubt is outcome with a question mark behind the class if the error is unsure.
func inDoubt(t *testing.T, token Token, err error) string {
	t.Helper()
	e := failure(t, token, err)
	text := outcome(t, token, err)
	if e.Unsure {
		text = string(e.Class) + "?" + text[len(e.Class):]
	}
	return text
}

// A code that names what is refused leaves no doubt, and neither does any other
// status: no number of such answers is the credential's.
//
// Case U1.
func TestWhatNamesTheKeyIsNotOfTheCredential(t *testing.T) {
	rfc := func(code string) string { return `{"error":"` + code + `"}` }
	human := func(code string) string { return `{"errorCode":"` + code + `"}` }
	for _, tt := range []struct {
		provider string
		reply
		want string
	}{
		{"oclc", refused(401, rfc("invalid_grant")), "subject invalid_grant"},
		{"oclc", refused(401, rfc("invalid_scope")), "scope invalid_scope"},
		{"oclc", refused(401, rfc("slow_down")), "throttled slow_down"},
		{"oclc", refused(400, rfc("unauthorized_client")), "scope unauthorized_client"},
		{"oclc", refused(403, rfc("access_denied")), "subject access_denied"},
		{"oclc", refused(403, `{"message":"Invalid scope(s): context:91475"}`), "subject"},
		{"user", refused(401, human("UNKNOWN_CLIENT_USER_ID")), "subject UNKNOWN_CLIENT_USER_ID"},
		{"user", refused(401, human("ACCESS_TOKEN_GENERATION_NOT_ALLOWED")), "subject ACCESS_TOKEN_GENERATION_NOT_ALLOWED"},
		{"user", refused(401, human("NOT_AUTHORIZED")), "scope NOT_AUTHORIZED"},
		{"user", refused(401, human("INVALID_CLIENT_ID_OR_SECRET")), "credential INVALID_CLIENT_ID_OR_SECRET"},
		{"user", refused(400, human("canary")), "subject"},
		// Its status is documented nowhere, and the tokens of users must go on.
		{"client", refused(401, human("CLIENT_TOKEN_GENERATION_NOT_ALLOWED")), "scope CLIENT_TOKEN_GENERATION_NOT_ALLOWED"},
		{"shop", refused(400, rfc("unauthorized_client")), "scope unauthorized_client"},
		{"shop", refused(403, rfc("access_denied")), "scope access_denied"},
		{"shop", refused(401, rfc("invalid_grant")), "credential invalid_grant"},
	} {
		t.Run(fmt.Sprint(tt.provider, " ", tt.status, " ", tt.body), func(t *testing.T) {
			s := newScripted(t)
			s.answer(tt.reply)
			var token Token
			var err error
			switch tt.provider {
			case "oclc":
				token, err = fetchOCLC(t, newTestOCLC(t, s.url, nil), "91475")
			case "user":
				token, err = fetchUser(t, newTestHumanAPI(t, s.url, nil), testUser)
			case "client":
				token, err = fetchHIPClient(t, newTestHumanAPI(t, s.url, func(c *HumanAPIConfig) { c.HIP = true }))
			default:
				token, err = fetch(t, newTestOAuth2(t, s.url, nil), "")
			}
			if got := inDoubt(t, token, err); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
