package upstream

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// The values are made up; the scheme gave the same signature in other libraries.
func TestWSKeySignatureVector(t *testing.T) {
	fields := url.Values{
		"grant_type": {"client_credentials"}, "authenticatingInstitutionId": {"128807"},
		"contextInstitutionId": {"91475"}, "scope": {"WMS_NCIP WMS_ACQ"},
	}
	const want = "PfT6xHBiHCPSSk9uxq05GztX0/gQt6fvAHDR0qjBLaM="
	if got := wskeySignature("made-up-wskey", "bWFkZS11cC1zZWNyZXQ=", "1700000000", "1234567890", fields); got != want {
		t.Errorf("signature is %s, want %s", got, want)
	}
}

func TestEscape3986LeavesTheUnreserved(t *testing.T) {
	const s, want = "aZ09-._~ +*/=&:é", "aZ09-._~%20%2B%2A%2F%3D%26%3A%C3%A9"
	if got := escape3986(s); got != want {
		t.Errorf("%q is escaped as %s, want %s", s, got, want)
	}
}

func withHMAC(c *OCLCConfig) { c.HMAC = true }

var hmacForm = regexp.MustCompile(`^http://www\.worldcat\.org/wskey/v2/hmac/v1 ` +
	`clientId="made-up-wskey", timestamp="(\d+)", nonce="([A-Z2-7]{26})", signature="([A-Za-z0-9+/]{43}=)"$`)

func TestOCLCHMACRequestIsSignedAnew(t *testing.T) {
	s := newOCLCSimulation(t, upstreamtest.Options{LegacyHMAC: true, Lifetime: time.Hour, InstitutionOnKey: func(id string) bool { return id != "5" }})
	u := newTestOCLC(t, s.TokenURL(), withHMAC)
	seen := map[string]bool{}
	for _, tt := range []struct{ institution, context, want string }{
		{"", testInstitution, ""}, {"91475", "91475", ""}, {"91475", "91475", ""}, {"5", "5", "subject"},
	} {
		token, err := fetchOCLC(t, u, tt.institution)
		auth := s.TokenRequestLog()[s.TokenRequests()-1].Header.Get("Authorization")
		wantWire(t, s, "POST /oauth2/accessToken?authenticatingInstitutionId=128807&contextInstitutionId="+tt.context+
			"&grant_type=client_credentials&scope=WMS_NCIP%20wcapi\nAccept: application/json\nAuthorization: "+auth+
			"\nConnection: close\nContent-Length: 0\nUser-Agent: token-sidecar\n\n")
		parts := hmacForm.FindStringSubmatch(auth)
		if parts == nil {
			t.Fatalf("the header is %s", auth)
		}
		if at, _ := strconv.ParseInt(parts[1], 10, 64); time.Since(time.Unix(at, 0)).Abs() > time.Minute {
			t.Errorf("the timestamp is %s", parts[1])
		}
		if seen[parts[2]] || seen[parts[3]] {
			t.Error("a nonce or a signature came before")
		}
		seen[parts[2]], seen[parts[3]] = true, true
		if tt.want != "" {
			if got := outcome(t, token, err); got != tt.want {
				t.Errorf("institution %s: %s, want %s", tt.context, got, tt.want)
			}
			continue
		}
		if g, ok := s.Issued(token.AccessToken()); err != nil || !ok || g.Subject != tt.context {
			t.Errorf("institution %s: %+v, %v", tt.context, g, err)
		}
	}
}

func TestOCLCHMACAnswers(t *testing.T) {
	answers := []told{
		{"good", oclcAnswer(`,"expires_in":"3599","contextInstitutionId":"91475"`), "tk_1 59m59s"},
		{"wrong secret", refused(401, `{"code":{"type":"http","value":"401"},"message":"WSKey canary is invalid"}`), "credential"},
		{"XML", refused(401, `<error><code type="http">401</code><message>canary</message></error>`), "credential"},
		{"page", refused(401, `<html>canary`), "credential"},
		{"not on the key", refused(403, `{"code":403,"message":"unauthorized_client"}`), "subject"},
		{"not on the key, code as an object", refused(403, `{"code":{"value":"403"},"message":"unauthorized_client"}`), "subject"},
		{"not on the key, older form", refused(403, `{"error":{"errorMessage":"unauthorized_client","errorCode":403}}`), "subject"},
		{"something else", refused(403, `{"code":403,"message":"canary"}`), "scope"},
		{"429", refused(429, `<html>canary`), "throttled"},
		{"503", refused(503, `<html>canary`), "unavailable"},
		{"another institution", oclcAnswer(`,"contextInstitutionId":"1"`), "malformed"},
	}
	wantOutcomes(t, answers, func(tokenURL string) func() (Token, error) {
		u := newTestOCLC(t, tokenURL, withHMAC)
		return func() (Token, error) { return fetchOCLC(t, u, "91475") }
	})
}

func TestOCLCHMACWrongSecret(t *testing.T) {
	s := newOCLCSimulation(t, upstreamtest.Options{LegacyHMAC: true})
	u := newTestOCLC(t, s.TokenURL(), func(c *OCLCConfig) { c.HMAC, c.Secret = true, NewSecret("other") })
	token, err := fetchOCLC(t, u, "")
	if got, reason := outcome(t, token, err), s.TokenRequestLog()[0].Reason; got != "credential" || reason != "signature is wrong" {
		t.Errorf("got %s, refused since %s", got, reason)
	}
	u.config.Secret.Replace(testOCLCSecret)
	if _, err := fetchOCLC(t, u, ""); err != nil {
		t.Errorf("with the right secret: %v", err)
	}
}

// A signed request that may have been read must not go out again as it is. A
// Transport would send it so where a kept connection breaks.
func TestOCLCHMACIsNotRepeated(t *testing.T) {
	var requests atomic.Int32
	target := serveRaw(t, func(c net.Conn, n int, _ string) bool {
		requests.Store(int32(n))
		if n == 2 {
			_ = c.(*net.TCPConn).SetLinger(0)
			return false
		}
		const good = `{"access_token":"t","token_type":"bearer"}`
		_, _ = io.WriteString(c, fmt.Sprintf("HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s", http.StatusOK, len(good), good))
		return true
	})
	u := newTestOCLC(t, target, withHMAC)
	for i, want := range []string{"t 19m59s", "unavailable", "t 19m59s"} {
		token, err := fetchOCLC(t, u, "")
		if got := outcome(t, token, err); got != want || requests.Load() != int32(i+1) {
			t.Errorf("request %d: %s after %d requests, want %s", i+1, got, requests.Load(), want)
		}
	}
}
