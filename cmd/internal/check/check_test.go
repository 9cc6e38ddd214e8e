package check

import (
	"bytes"
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

func TestGoodUpstreamsPass(t *testing.T) {
	mdh := testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{}))
	pdx := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{}))
	oclc := testkit.Closing(t, upstreamtest.NewOCLC(upstreamtest.Options{}))
	human := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{HIP: true}))
	generic := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{}))
	var settings []string
	for _, part := range [][]string{testkit.MyDataHelps(mdh), testkit.PDX(pdx), testkit.OCLC(oclc, "OCLC_INSTITUTION=128807"), testkit.HumanAPI(human, "HUMANAPI_HIP=true"), testkit.OAuth2(generic)} {
		settings = append(settings, part...)
	}
	text, report, err := runCheck(t, settings, "--subject", "mydatahelps="+checkParticipant,
		"--subject=humanapi="+checkUser, "--subject", "oclc="+checkInstitution)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	want := []string{"mydatahelps service ", "mydatahelps participant (as given)", "pdx client ", "oclc client (default)",
		"oclc client (as given)", "humanapi access (as given)", "humanapi client ", "books client "}
	if len(report.Requests) != len(want) {
		t.Fatalf("%d rows, want %d\n%s", len(report.Requests), len(want), text)
	}
	for i, r := range report.Requests {
		if got := r.Upstream + " " + r.Kind + " " + r.Subject; got != want[i] {
			t.Errorf("row %d is %q, want %q", i, got, want[i])
		}
		if r.Outcome != outcomeOK || r.Cause != "" || r.Mend != "" || r.Lifetime != 30 || !strings.HasPrefix(r.Host, "127.0.0.1:") {
			t.Errorf("row %d: %+v", i, r)
		}
	}
	if got := report.Requests[4].GrantedScope; got != "WorldCatMetadataAPI context:(as given)" {
		t.Errorf("OCLC granted %q", got)
	}
	if got := report.Requests[2]; got.AskedScope != "mydex:pdx" || got.GrantedScope != "mydex:pdx" {
		t.Errorf("PDX: %+v", got)
	}
	if got := mdh.TokenRequests(); got != 4 {
		t.Errorf("MyDataHelps got %d token requests in two runs, want 4: one service token buys the other", got)
	}
	if !strings.Contains(text, "SIDECAR_PDX_CLIENT_SECRET") || !strings.Contains(text, "[redacted]") {
		t.Error("the effective configuration is not shown")
	}
	checkTable(t, text, len(want))
	secrets := []string{checkParticipant, checkUser, checkInstitution, pdx.ClientSecret(), oclc.ClientSecret(), human.ClientSecret(), generic.ClientSecret()}
	testkit.AssertNoLeak(t, text+report.raw, append(append(secrets, keyLines(mdh)...), tokensOf(mdh)...)...)
}

// checkTable makes sure that the columns of the table are aligned.
func checkTable(t *testing.T, text string, rows int) {
	t.Helper()
	_, table, ok := strings.Cut(text, "UPSTREAM ")
	lines := strings.Split("UPSTREAM "+table, "\n")
	column := strings.Index(lines[0], "OUTCOME")
	if !ok || len(lines) < rows+1 {
		t.Fatalf("no table of %d rows\n%s", rows, text)
	}
	for _, line := range lines[1 : rows+1] {
		if !strings.HasPrefix(line[column:], "ok") {
			t.Errorf("the outcome is not in its column: %q", line)
		}
	}
}

func TestWhatNeedsASubjectIsNotTriedWithoutOne(t *testing.T) {
	mdh := testkit.Closing(t, upstreamtest.NewMyDataHelps(upstreamtest.Options{}))
	human := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{}))
	text, report, err := runCheck(t, testkit.MyDataHelps(mdh))
	if err != nil || len(report.Requests) != 2 || report.Requests[1].Outcome != outcomeUntried {
		t.Errorf("a kind without a subject: %v\n%s", err, text)
	}
	if !strings.Contains(text, "mydatahelps participant: not tried\n  mend: add --subject mydatahelps=") {
		t.Errorf("no word of what was not tried\n%s", text)
	}
	text, _, err = runCheck(t, testkit.HumanAPI(human))
	if exitCode(err) != 1 || !strings.Contains(err.Error(), "humanapi") {
		t.Errorf("an upstream of which nothing was tried: %v\n%s", err, text)
	}
	if human.TokenRequests() != 0 {
		t.Error("a token was asked for without a subject")
	}
}

func TestEachSubjectIsTriedByItself(t *testing.T) {
	human := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{KnowsUser: func(id string) bool { return id != checkUser }}))
	text, report, err := runCheck(t, testkit.HumanAPI(human), "--subject", "humanapi=ann", "--subject", "humanapi="+checkUser)
	if exitCode(err) != 1 || len(report.Requests) != 2 {
		t.Fatalf("%v\n%s", err, text)
	}
	if r := report.Requests; r[0].Outcome != outcomeOK || r[1].Outcome != outcomeFailed || r[1].Subject != "(as given) #2" {
		t.Errorf("%+v", r)
	}
	testkit.AssertNoLeak(t, text+report.raw, checkUser)
}

func TestWrongCallsMakeNoTokenRequest(t *testing.T) {
	human := testkit.Closing(t, upstreamtest.NewHumanAPI(upstreamtest.Options{}))
	oclc := testkit.Closing(t, upstreamtest.NewOCLC(upstreamtest.Options{}))
	c := configOf(t, append(testkit.HumanAPI(human), testkit.OCLC(oclc)...))
	for _, args := range [][]string{
		{"--jsn"}, {"--json=" + testkit.Canary}, {testkit.Canary}, {"--subject"}, {"--subject", testkit.Canary}, {"--subject", "=" + testkit.Canary}, {"--subject", "humanapi="},
		{"--subject", testkit.Canary + "=humanapi"}, {"--subject", "pdx=" + testkit.Canary}, {"--subject", "oclc=" + testkit.Canary}, {"--subject", "humanapi=a," + testkit.Canary},
	} {
		var out bytes.Buffer
		err := runArgs(t.Context(), c, args, &out)
		if exitCode(err) != 2 || out.Len() > 0 {
			t.Errorf("%q: %v, output %q", args, err, &out)
		} else if strings.Contains(err.Error(), testkit.Canary) {
			t.Errorf("%q is quoted in %v", args, err)
		}
	}
	if human.TokenRequests()+oclc.TokenRequests() > 0 {
		t.Error("a wrong call made token requests")
	}
}

func TestSubjectThatNoUpstreamTakesIsRefused(t *testing.T) {
	var out bytes.Buffer
	pdx := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{}))
	err := runArgs(t.Context(), configOf(t, testkit.PDX(pdx)), []string{"--subject", "pdx=" + testkit.Canary}, &out)
	if exitCode(err) != 2 || strings.Contains(err.Error(), testkit.Canary) {
		t.Errorf("got %v", err)
	}
}

// TestRootsOfTheCAFileAreTrusted trusts a server through CA_FILE.
func TestRootsOfTheCAFileAreTrusted(t *testing.T) {
	provider := testkit.Closing(t, upstreamtest.NewOAuth2(upstreamtest.OAuth2Options{Lifetime: time.Minute, Scopes: []string{"read"}}))
	plain, err := url.Parse(provider.TokenURL())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = plain }})
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(file, roots, 0o600); err != nil {
		t.Fatal(err)
	}
	text, report, err := runCheck(t, testkit.OAuth2(provider, "OAUTH2_0_TOKEN_URL="+s.URL, "CA_FILE="+file))
	if err != nil || report.Requests[0].Lifetime != 60 || report.Requests[0].GrantedScope != "read" {
		t.Errorf("%v\n%s", err, text)
	}
	testkit.AssertNoLeak(t, text+report.raw, provider.ClientSecret())
}

func TestInterruptedCheckSaysSo(t *testing.T) {
	s := testkit.Closing(t, upstreamtest.NewPDX(upstreamtest.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	s.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer {
		cancel()
		return &upstreamtest.Answer{Hang: true}
	})
	var out bytes.Buffer
	if err := Run(ctx, configOf(t, testkit.PDX(s)), Options{}, &out); exitCode(err) != 1 || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestNarrowTokenPassesAndIsExplained is a token that is used, and worth a word.
func TestNarrowTokenPassesAndIsExplained(t *testing.T) {
	s := testkit.Closing(t, upstreamtest.NewOCLC(upstreamtest.Options{Scopes: []string{"WMS_NCIP", "WMS_ACQ"}, GrantOnly: []string{"WMS_ACQ"}}))
	text, report, err := runCheck(t, testkit.OCLC(s, "OCLC_SCOPE=WMS_NCIP WMS_ACQ"))
	if r := report.Requests[0]; err != nil || r.Outcome != outcomeOK || !strings.Contains(r.Cause, "left out WMS_NCIP") || !strings.Contains(r.Mend, "SIDECAR_OCLC_SCOPE") {
		t.Errorf("%v %+v", err, r)
	}
	if !strings.Contains(text, "ok, narrow") {
		t.Error(text)
	}
}
