package check

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

func no(string) bool { return false }

// elsewhere points a Human API client at the token endpoint of the other contract.
func elsewhere(s *upstreamtest.Server, from, to string) string {
	return "HUMANAPI_TOKEN_URL=" + strings.Replace(s.TokenURL(), from, to, 1)
}

func TestRefusedAssertionsAreExplained(t *testing.T) {
	mdh := func(more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			return testkit.MyDataHelps(testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{})), more...)
		}
	}
	jwt := func(more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Auth: upstreamtest.AuthPrivateKeyJWT}))
			return testkit.OAuth2Key(s, more...)
		}
	}
	skewed := func(ahead time.Duration) func(*testing.T) []string {
		return func(t *testing.T) []string {
			a := dated(upstreamtest.OAuthError(http.StatusBadRequest, "invalid_client"), ahead)
			return testkit.MyDataHelps(faulty(testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{})), a))
		}
	}
	participant := []string{"--subject", "mydatahelps=" + checkParticipant}
	checkBroken(t, []brokenCheck{
		// The participant token fails with the service token that would buy it.
		{"audience", mdh("MYDATAHELPS_AUDIENCE=https://mydatahelps.org/identityserver/connect/token"), participant,
			"credential/invalid_client", "wrong audience", "MYDATAHELPS_AUDIENCE"},
		{"key", mdh("MYDATAHELPS_PRIVATE_KEY=" + testkit.PrivateKey()), participant, "credential/invalid_client", "wrong key", "MYDATAHELPS_PRIVATE_KEY"},
		{"service account", mdh("MYDATAHELPS_SERVICE_ACCOUNT=other"), participant,
			"credential/invalid_client", "service account", "MYDATAHELPS_SERVICE_ACCOUNT"},
		{"participant", func(t *testing.T) []string {
			return testkit.MyDataHelps(testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{KnowsParticipant: no})))
		}, participant, "subject/invalid_grant", "participant unknown", "MYDATAHELPS_SERVICE_ACCOUNT"},
		{"delegated client", mdh("MYDATAHELPS_DELEGATED_CLIENT_ID=other"), participant,
			"scope/invalid_client", "wrong delegated client", "MYDATAHELPS_DELEGATED_CLIENT_ID"},
		{"participant scope", mdh("MYDATAHELPS_SCOPE=api Unheard:of"), participant, "scope/invalid_scope", "scope not given", "MYDATAHELPS_SCOPE"},
		{"generic audience", jwt("OAUTH2_0_AUDIENCE=https://id.example.org/"), nil, "credential/invalid_client", "wrong audience", "OAUTH2_0_AUDIENCE"},
		{"generic key", jwt("OAUTH2_0_PRIVATE_KEY=" + testkit.PrivateKey()), nil, "credential/invalid_client", "wrong key", "OAUTH2_0_PRIVATE_KEY"},
		{"slow clock", skewed(10 * time.Minute), participant, "credential/invalid_client", "s ahead of this machine's", "MYDATAHELPS_"},
		{"fast clock", skewed(-10 * time.Minute), participant, "credential/invalid_client", "s behind this machine's", "MYDATAHELPS_"},
	})
}

func TestRefusedClientsAreExplained(t *testing.T) {
	pdx := func(more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			return testkit.PDX(testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{})), more...)
		}
	}
	generic := func(id, secret string, more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			s := upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{ClientID: id, ClientSecret: secret})
			return testkit.OAuth2(testkit.Closing(t, s), more...)
		}
	}
	checkBroken(t, []brokenCheck{
		{"pdx secret", pdx("PDX_CLIENT_SECRET=" + testkit.Canary), nil, "credential/invalid_client", "not of the live environment", "PDX_CLIENT_SECRET"},
		{"pdx encoding", pdx("PDX_BASIC_ENCODING=plain"), nil, "credential/invalid_client", "form-encoded in Basic", "PDX_BASIC_ENCODING"},
		{"pdx scope", pdx("PDX_SCOPE=mydex:pdx mydex:unheard"), nil, "scope/invalid_scope", "scope not given", "PDX_SCOPE"},
		{"secret", generic("id", testkit.Canary, "OAUTH2_0_CLIENT_SECRET=other-"+testkit.Canary), nil, "credential/invalid_client", "wrong client id or secret", "OAUTH2_0_CLIENT_SECRET"},
		{"secret with reserved characters", generic("id", testkit.Canary, "OAUTH2_0_CLIENT_SECRET=a+b/"+testkit.Canary), nil,
			"credential/invalid_client", "reserved characters", "OAUTH2_0_BASIC_ENCODING"},
		{"way of authentication", generic("id", testkit.Canary, "OAUTH2_0_AUTH=post"), nil, "credential/invalid_client", "another way than post", "OAUTH2_0_AUTH"},
		{"scope", generic("id", testkit.Canary, "OAUTH2_0_SCOPE=read admin"), nil, "scope/invalid_scope", "scope not given", "OAUTH2_0_SCOPE"},
		{"grant", genericAnswering(upstreamtest.OAuthError(http.StatusBadRequest, "unauthorized_client")), nil,
			"scope/unauthorized_client", "grant not enabled", "OAUTH2_0_TOKEN_URL"},
		// Not every provider has a status for refusals. This is none of a narrow scope.
		{"refusal with status 200", genericAnswering(upstreamtest.OAuthError(http.StatusOK, "invalid_scope")), nil,
			"scope/invalid_scope", "scope not given", "OAUTH2_0_SCOPE"},
	})
}

func TestRefusalsOfOCLCAreExplained(t *testing.T) {
	oclc := func(o upstreamtest.Options, more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string { return testkit.OCLC(testkit.Closing(t, upstreamtest.NewOCLC(o)), more...) }
	}
	narrow := upstreamtest.Options{Scopes: []string{"WMS_NCIP", "WMS_ACQ"}, GrantOnly: []string{"WMS_ACQ"}}
	institution := []string{"--subject", "oclc=" + checkInstitution}
	checkBroken(t, []brokenCheck{
		{"secret", oclc(upstreamtest.Options{}, "OCLC_SECRET="+testkit.Canary), nil, "credential/401", "wrong WSKey or secret", "OCLC_SECRET"},
		{"scope", oclc(upstreamtest.Options{}, "OCLC_SCOPE=Unheard_of"), nil, "scope/403", "scope not on the key", "OCLC_SCOPE"},
		{"institution", oclc(upstreamtest.Options{InstitutionOnKey: no}), institution,
			"subject/403", "institution not on the key: the WSKey may not work for the institution given", "OCLC_WSKEY"},
		{"default institution", oclc(upstreamtest.Options{InstitutionOnKey: no}, "OCLC_INSTITUTION=128807"), nil,
			"subject/403", "the institution of SIDECAR_OCLC_INSTITUTION", "OCLC_WSKEY"},
		{"narrow scope", oclc(narrow, "OCLC_SCOPE=WMS_NCIP WMS_ACQ", "OCLC_NARROW_SCOPE=refuse"), nil, "scope/200", "narrow scope", "OCLC_NARROW_SCOPE"},
		{"place of parameters", oclc(upstreamtest.Options{FormBody: true}), nil, "malformed/400", "in the other place", "OCLC_PARAMETERS"},
		{"signature", oclc(upstreamtest.Options{LegacyHMAC: true}, "OCLC_SECRET="+testkit.Canary, "OCLC_AUTH=hmac", "OCLC_INSTITUTION=128807"), nil,
			"credential/401", "signature", "OCLC_SECRET"},
	})
}

func TestRefusalsOfHumanAPIAreExplained(t *testing.T) {
	human := func(o upstreamtest.Options, more ...string) func(*testing.T) []string {
		return func(t *testing.T) []string {
			return testkit.HumanAPI(testkit.Closing(t, upstreamtest.NewHumanAPI(o)), more...)
		}
	}
	user := []string{"--subject", "humanapi=" + checkUser}
	const connect, hip = "/v1/connect/token", "/v1/admin/token"
	checkBroken(t, []brokenCheck{
		{"client id", human(upstreamtest.Options{}, "HUMANAPI_CLIENT_ID=other"), user, "credential/INVALID_CLIENT_ID", "wrong client id", "HUMANAPI_CLIENT_ID"},
		{"secret", human(upstreamtest.Options{}, "HUMANAPI_CLIENT_SECRET="+testkit.Canary), user,
			"credential/INVALID_CLIENT_ID_OR_SECRET", "wrong client id or secret", "HUMANAPI_CLIENT_SECRET"},
		{"user unknown", human(upstreamtest.Options{KnowsUser: no}), user, "subject/UNKNOWN_CLIENT_USER_ID", "user unknown", "HUMANAPI_CLIENT_ID"},
		{"user not connected", human(upstreamtest.Options{ConnectedUser: no}), user,
			"subject/ACCESS_TOKEN_GENERATION_NOT_ALLOWED", "user not connected", "HUMANAPI_CLIENT_ID"},
		{"client tokens", human(upstreamtest.Options{HIP: true, NoClientTokens: true}, "HUMANAPI_HIP=true"), user,
			"scope/CLIENT_TOKEN_GENERATION_NOT_ALLOWED", "token generation not enabled", "HUMANAPI_HIP"},
		{"hip client, connect configured", func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{HIP: true}))
			return testkit.HumanAPI(s, elsewhere(s, hip, connect))
		}, user, "scope/NOT_AUTHORIZED", "HIP and connect mixed up", "HUMANAPI_HIP"},
		{"connect client, hip configured", func(t *testing.T) []string {
			s := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{}))
			return testkit.HumanAPI(s, "HUMANAPI_HIP=true", elsewhere(s, connect, hip), "HUMANAPI_TARGETS=other=https://other.example.org")
		}, user, "scope/NOT_AUTHORIZED", "HIP and connect mixed up", "HUMANAPI_HIP"},
	})
}

// TestClocksThatDifferAreExplained also tells machines by how much.
func TestClocksThatDifferAreExplained(t *testing.T) {
	a := dated(upstreamtest.OAuthError(http.StatusBadRequest, "invalid_client"), 10*time.Minute)
	_, report, _ := runCheck(t, testkit.MyDataHelps(faulty(testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{})), a)))
	seconds := report.Requests[0].SkewSeconds
	if seconds < 590 || seconds > 600 || !strings.Contains(report.Requests[0].Cause, strconv.Itoa(seconds)+" s ahead") {
		t.Errorf("%d s, %q", seconds, report.Requests[0].Cause)
	}
}
