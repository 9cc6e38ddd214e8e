package upstream

import (
	"encoding/base64"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// The secret has the characters that some encoding changes and that secrets of
// OCLC, which look like base64, have.
const (
	testWSKey       = "made-up-wskey"
	testOCLCSecret  = "bWFk+S11/C1zZWNyZXQ=="
	testInstitution = "128807"
)

func newTestOCLC(t *testing.T, tokenURL string, change func(*OCLCConfig)) *oclc {
	t.Helper()
	c := OCLCConfig{
		Config: Config{TokenURL: parseURL(t, tokenURL), Target: parseURL(t, "https://metadata.example"),
			Scope: "wcapi WMS_NCIP", DefaultLifetime: 1199 * time.Second},
		WSKey:       testWSKey,
		Secret:      NewSecret(testOCLCSecret),
		Institution: testInstitution,
	}
	if change != nil {
		change(&c)
	}
	u := NewOCLC(c).(*oclc)
	closeIdle(t, u.endpoint)
	return u
}

func fetchOCLC(t *testing.T, u Upstream, institution string) (Token, error) {
	t.Helper()
	return u.Fetch(t.Context(), mustKey(t, u, KindClient, institution, ""), noTokens{t})
}

func newOCLCSimulation(t *testing.T, o upstreamtest.Options) *upstreamtest.Server {
	o.ClientID, o.ClientSecret = testWSKey, testOCLCSecret
	s := upstreamtest.NewOCLC(o)
	t.Cleanup(s.Close)
	return s
}

func TestOCLCRequestIsWhatTheContractAsks(t *testing.T) {
	auth := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(testWSKey+":"+testOCLCSecret)) + "\n"
	query := func(scope string) string {
		return "POST /token?grant_type=client_credentials&scope=" + scope + "\nAccept: application/json\n" +
			auth + "Content-Length: 0\nUser-Agent: token-sidecar\n\n"
	}
	inBody := func(c *OCLCConfig) { c.InBody = true }
	for _, tt := range []struct {
		name        string
		change      func(*OCLCConfig)
		institution string // that the request names
		wire        string
		subject     string // of the token; "refused": none
		outcome     string
	}{
		{"default institution", nil, "", query("WMS_NCIP%20wcapi%20context%3A128807"), testInstitution, "1199s"},
		{"another institution", nil, "91475", query("WMS_NCIP%20wcapi%20context%3A91475"), "91475", "1199s"},
		{"no institution", func(c *OCLCConfig) { c.Institution = "" }, "", query("WMS_NCIP%20wcapi"), "", "1199s"},
		{"scope with a colon", func(c *OCLCConfig) { c.Scope = "wcapi:view_holdings" }, "", query("wcapi%3Aview_holdings%20context%3A128807"), testInstitution, ""},
		{"form body", inBody, "", "POST /token\nAccept: application/json\n" + auth +
			"Content-Length: 67\nContent-Type: application/x-www-form-urlencoded\nUser-Agent: token-sidecar\n\n" +
			"grant_type=client_credentials&scope=WMS_NCIP+wcapi+context%3A128807", testInstitution, ""},
		{"unknown scope", func(c *OCLCConfig) { c.Scope = "Unheard_of" }, "", query("Unheard_of%20context%3A128807"), "refused", "scope"},
		{"institution not on the key", nil, "5", query("WMS_NCIP%20wcapi%20context%3A5"), "refused", "subject"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newTestOCLC(t, "http://unused.example", tt.change)
			s := newOCLCSimulation(t, upstreamtest.Options{Lifetime: 1199 * time.Second, FormBody: u.config.InBody,
				InstitutionOnKey: func(id string) bool { return id != "5" }})
			u = newTestOCLC(t, s.TokenURL(), tt.change)
			token, err := fetchOCLC(t, u, tt.institution)
			wantWire(t, s, tt.wire)
			if tt.subject == "refused" {
				if got := outcome(t, token, err); got != tt.outcome {
					t.Errorf("got %s, want %s", got, tt.outcome)
				}
				return
			}
			g, ok := s.Issued(token.AccessToken())
			if err != nil || !ok || g.Subject != tt.subject || token.Expiry().Sub(token.Issued()) != 1199*time.Second {
				t.Errorf("the token is %+v, %v", g, err)
			}
			if Narrower(token.Scope(), mustKey(t, u, KindClient, tt.institution, "").Scope) {
				t.Errorf("a full scope looks narrow: %q", token.Scope())
			}
		})
	}
}

// Without this refusal the table above would show little.
func TestOCLCEncodedSecretIsRefused(t *testing.T) {
	s := newOCLCSimulation(t, upstreamtest.Options{})
	u := newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.Secret = NewSecret("bWFk%2BS11%2FC1zZWNyZXQ%3D%3D") })
	token, err := fetchOCLC(t, u, "")
	if got := outcome(t, token, err); got != "credential" {
		t.Errorf("an encoded secret is %s", got)
	}
}

// Each place is refused by a server of the other.
func TestOCLCParametersStandInOnePlace(t *testing.T) {
	for _, inBody := range []bool{false, true} {
		s := newOCLCSimulation(t, upstreamtest.Options{FormBody: !inBody})
		token, err := fetchOCLC(t, newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.InBody = inBody }), "")
		if got := outcome(t, token, err); got != "malformed" {
			t.Errorf("in the body %t: %s", inBody, got)
		}
	}
}

func TestOCLCPartialScope(t *testing.T) {
	s := newOCLCSimulation(t, upstreamtest.Options{GrantOnly: []string{"wcapi"}, ExpiresInString: true})
	u := newTestOCLC(t, s.TokenURL(), nil)
	token, err := fetchOCLC(t, u, "91475")
	if got := outcome(t, token, err); err != nil || token.Scope() != "context:91475 wcapi" {
		t.Fatalf("got %s", got)
	}
	if !Narrower(token.Scope(), "WMS_NCIP wcapi") {
		t.Error("the token looks as if all had been granted")
	}
	strict := newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.RefuseNarrow = true })
	token, err = fetchOCLC(t, strict, "91475")
	if got := outcome(t, token, err); got != "scope" {
		t.Errorf("by the setting it is %s, want it refused", got)
	}
	enough := newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.RefuseNarrow, c.Scope = true, "wcapi" })
	if _, err := fetchOCLC(t, enough, "91475"); err != nil {
		t.Errorf("all that was asked for was granted: %v", err)
	}
}

func TestOCLCSecretRotates(t *testing.T) {
	s := newOCLCSimulation(t, upstreamtest.Options{})
	secret := NewSecret("old")
	u := newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.Secret = secret })
	before := u.Fingerprint()
	token, err := fetchOCLC(t, u, "")
	if got := outcome(t, token, err); got != "credential" {
		t.Errorf("with the old secret: %s", got)
	}
	secret.Replace(testOCLCSecret)
	if _, err := fetchOCLC(t, u, ""); err != nil || u.Fingerprint() == before {
		t.Errorf("with the new secret: %v, and the fingerprint differs: %t", err, u.Fingerprint() != before)
	}
}

func TestOCLCRoutesAndKeys(t *testing.T) {
	u := newTestOCLC(t, "http://token.example/", func(c *OCLCConfig) {
		c.Targets = []Target{{"discovery", parseURL(t, "https://discovery.example")}}
	})
	want := []Route{
		{"oclc", u.config.Target, KindClient, SubjectOptional, nil},
		{"oclc.discovery", u.config.Targets[0].URL, KindClient, SubjectOptional, nil},
	}
	if got := u.Routes(); !reflect.DeepEqual(got, want) {
		t.Errorf("routes are %v, want %v", got, want)
	}
	if mustKey(t, u, KindClient, "", "") != mustKey(t, u, KindClient, testInstitution, "WMS_NCIP wcapi") {
		t.Error("the default institution by name is another key")
	}
	for _, subject := range []string{"ocwms", "12 context:5", "-1", "1.5", "１２", "context:5", "111111111111111111111"} {
		if _, err := u.Key(KindClient, subject, ""); !errors.Is(err, ErrSubjectInvalid) {
			t.Errorf("subject %q: %v", subject, err)
		}
	}
	for _, scope := range []string{"context:91475", "WMS_NCIP context:91475", "WMS_ACQ"} {
		if _, err := u.Key(KindClient, "", scope); !errors.Is(err, ErrScopeNotAllowed) {
			t.Errorf("scope %q: %v", scope, err)
		}
	}
}

// dated returns r with the provider's clock, by so much ahead of ours.
func (r reply) dated(ahead time.Duration) reply {
	return r.with("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
}
