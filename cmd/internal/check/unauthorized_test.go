package check

import (
	"net/http"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// form is one way to answer 401, and what check must say of its code.
type form struct {
	name, code string
	answer     *upstreamtest.Answer
}

func unauthorizedForms() []form {
	const page = "<!doctype html><title>" + testkit.Canary + "</title>"
	return []form{
		{"unauthorized_client", "unauthorized_client", upstreamtest.OAuthError(401, "unauthorized_client")},
		{"access_denied", "access_denied", upstreamtest.OAuthError(401, "access_denied")},
		{"invalid_client", "invalid_client", upstreamtest.OAuthError(401, "invalid_client")},
		{"no code", "401", &upstreamtest.Answer{Status: 401, Body: `{"message":"` + testkit.Canary + `"}`}},
		{"page", "401", &upstreamtest.Answer{Status: 401, Header: http.Header{"Content-Type": {"text/html"}}, Body: page}},
	}
}

// TestCheckNamesTheCredential has each provider answer 401 in each form: check
// blames the credential and names the settings that it comes from.
//
// Case U1.
func TestCheckNamesTheCredential(t *testing.T) {
	var cases []brokenCheck
	for _, provider := range []struct {
		name     string
		make     func(upstreamtest.Options) *upstreamtest.Server
		settings func(*upstreamtest.Server, ...string) []string
		ownCodes bool // those of RFC 6749 are unknown to it
		cause    string
		mend     string
		noCode   string // the cause without a code
	}{
		{"mydatahelps", upstreamtest.NewMyDataHelps, testkit.MyDataHelps, false, "wrong key or service account", "MYDATAHELPS_PRIVATE_KEY", "the credential is wrong"},
		{"pdx", upstreamtest.NewPDX, testkit.PDX, false, "wrong client id or secret", "PDX_CLIENT_SECRET", "the credential is wrong"},
		{"oclc", upstreamtest.NewOCLC, testkit.OCLC, false, "wrong WSKey or secret", "OCLC_SECRET", "wrong WSKey or secret"},
		{"oclc, default institution", upstreamtest.NewOCLC, func(s *upstreamtest.Server, _ ...string) []string {
			return testkit.OCLC(s, "OCLC_INSTITUTION=128807")
		}, false, "wrong WSKey or secret", "OCLC_SECRET", "wrong WSKey or secret"},
		{"humanapi", upstreamtest.NewHumanAPI, func(s *upstreamtest.Server, _ ...string) []string {
			return testkit.HumanAPI(s, "HUMANAPI_HIP=true")
		}, true, "wrong client id or secret", "HUMANAPI_CLIENT_SECRET", "wrong client id or secret"},
		{"generic", func(upstreamtest.Options) *upstreamtest.Server {
			return upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{})
		}, testkit.OAuth2, false, "wrong client id or secret", "OAUTH2_0_CLIENT_SECRET", "the credential is wrong"},
		{"generic by assertion", func(upstreamtest.Options) *upstreamtest.Server {
			return upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPrivateKeyJWT})
		}, testkit.OAuth2Key, false, "wrong key or client id", "OAUTH2_0_PRIVATE_KEY", "the credential is wrong"},
	} {
		for _, f := range unauthorizedForms() {
			code, cause := f.code, provider.cause
			if provider.ownCodes {
				code = "401"
			}
			if code == "401" {
				cause = provider.noCode
			}
			cases = append(cases, brokenCheck{provider.name + ", " + f.name, func(t *testing.T) []string {
				s := testkit.Closing(t, provider.make(upstreamtest.Options{HIP: provider.name == "humanapi"}))
				return provider.settings(faulty(s, f.answer))
			}, nil, "credential/" + code, cause, provider.mend})
		}
	}
	checkBroken(t, cases)
}

// TestCheckTellsDoubtAboutARefusal has one subject refused by a 401 that does not say who is
// meant, and the delegated client of MyDataHelps, who is not the service account.
//
// Case U1.
func TestCheckTellsDoubtAboutARefusal(t *testing.T) {
	denied := upstreamtest.OAuthError(401, "access_denied")
	unauthorized := upstreamtest.OAuthError(401, "unauthorized_client")
	delegated := func(a *upstreamtest.Answer) func(*testing.T) []string {
		return func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{}))
			s.SetTokenFault(func(r *http.Request, _ int) *upstreamtest.Answer {
				if r.PostFormValue("participant_id") != "" {
					return a
				}
				return nil
			})
			return testkit.MyDataHelps(s)
		}
	}
	participant := []string{"--subject", "mydatahelps=" + checkParticipant}
	checkBroken(t, []brokenCheck{
		{"user", func(t *testing.T) []string {
			return testkit.HumanAPI(faulty(testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{})), denied))
		}, []string{"--subject", "humanapi=" + checkUser}, "subject/401", "may be meant for the credential as well as for the subject given", "HUMANAPI_CLIENT_SECRET"},
		{"delegated client", delegated(unauthorized), participant, "scope/unauthorized_client", "wrong delegated client", "MYDATAHELPS_DELEGATED_CLIENT_ID"},
		{"delegated client, no code", delegated(&upstreamtest.Answer{Status: 401}), participant, "scope/401", "wrong delegated client", "MYDATAHELPS_DELEGATED_CLIENT_ID"},
	})
}
