package upstreamtest_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// The parameters in the order in which the signed text has them.
const (
	hmacQuery  = "?grant_type=client_credentials&authenticatingInstitutionId=128807&contextInstitutionId=91475&scope=WMS_NCIP%20WMS_ACQ"
	hmacSorted = "authenticatingInstitutionId=128807\ncontextInstitutionId=91475\ngrant_type=client_credentials\nscope=WMS_NCIP%20WMS_ACQ\n"
)

// hmacSign signs sorted, one name=value pair a line, as OCLC's HMAC signature
// page has it. It is on purpose not the code that is tested.
func hmacSign(key, secret, timestamp, nonce, sorted string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%s\n%s\n%s\n\nPOST\nwww.oclc.org\n443\n/wskey\n%s", key, timestamp, nonce, sorted)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func hmacAuth(key, timestamp, nonce, signature string) string {
	return fmt.Sprintf(`http://www.worldcat.org/wskey/v2/hmac/v1 clientId="%s", timestamp="%s", nonce="%s", signature="%s"`, key, timestamp, nonce, signature)
}

// Without this the test below would only show that two pieces of code agree.
func TestSignatureIsThatOfOtherLibraries(t *testing.T) {
	got := hmacSign("made-up-wskey", "bWFkZS11cC1zZWNyZXQ=", "1700000000", "1234567890", hmacSorted)
	if want := "PfT6xHBiHCPSSk9uxq05GztX0/gQt6fvAHDR0qjBLaM="; got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
}

func TestOCLCHMACVerifiesSignatures(t *testing.T) {
	s := upstreamtest.NewOCLC(upstreamtest.Options{LegacyHMAC: true, InstitutionOnKey: func(id string) bool { return id != "5" }})
	defer s.Close()
	now := strconv.FormatInt(time.Now().Unix(), 10)
	old := strconv.FormatInt(time.Now().Add(-time.Hour).Unix(), 10)
	milli := strconv.FormatInt(time.Now().UnixMilli(), 10)
	auth := func(timestamp, nonce, sorted string) string {
		return hmacAuth(s.ClientID(), timestamp, nonce, hmacSign(s.ClientID(), s.ClientSecret(), timestamp, nonce, sorted))
	}
	good := auth(now, rand.Text(), hmacSorted)
	tests := []struct {
		name, query, auth string
		status            int
	}{
		{"good", hmacQuery, good, 200},
		{"replay", hmacQuery, good, 401},
		{"clientID", hmacQuery, strings.Replace(auth(now, rand.Text(), hmacSorted), "clientId", "clientID", 1), 200},
		{"no space", hmacQuery, strings.ReplaceAll(auth(now, rand.Text(), hmacSorted), `", `, `",`), 200},
		{"principal", hmacQuery, auth(now, rand.Text(), hmacSorted) + `, principalID="p", principalIDNS="urn:x"`, 200},
		{"unknown parameter", hmacQuery, auth(now, rand.Text(), hmacSorted) + `, x="p"`, 401},
		{"old", hmacQuery, auth(old, rand.Text(), hmacSorted), 401},
		{"milliseconds", hmacQuery, auth(milli, rand.Text(), hmacSorted), 401},
		{"no nonce", hmacQuery, auth(now, "", hmacSorted), 401},
		{"another scope signed", hmacQuery, auth(now, rand.Text(), strings.Replace(hmacSorted, "ACQ", "X", 1)), 401},
		{"space as plus", hmacQuery, auth(now, rand.Text(), strings.Replace(hmacSorted, "%20", "+", 1)), 401},
		{"another key", hmacQuery, hmacAuth("x", now, "n", hmacSign("x", s.ClientSecret(), now, "n", hmacSorted)), 401},
		{"Basic", hmacQuery, basic(s.ClientID(), s.ClientSecret()), 401},
		{"no institution", "?grant_type=client_credentials&scope=WMS_ACQ",
			auth(now, rand.Text(), "grant_type=client_credentials\nscope=WMS_ACQ\n"), 400},
		{"institution not on key", strings.Replace(hmacQuery, "91475", "5", 1),
			auth(now, rand.Text(), strings.Replace(hmacSorted, "91475", "5", 1)), 403},
		{"scope not on key", strings.Replace(hmacQuery, "WMS_NCIP%20WMS_ACQ", "x", 1),
			auth(now, rand.Text(), strings.Replace(hmacSorted, "WMS_NCIP%20WMS_ACQ", "x", 1)), 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res := do(t, http.MethodPost, s.TokenURL()+tt.query, "", oclcHeader(tt.auth))
			if res.status != tt.status {
				t.Fatalf("got %d %s", res.status, res.body)
			}
			switch {
			case res.status == 401 && res.body != `{"code":{"type":"http","value":"401"},"message":"WSKey `+s.ClientID()+` is invalid"}`,
				res.status == 403 && res.body != `{"code":403,"message":"unauthorized_client"}`:
				t.Errorf("body %s", res.body)
			case res.status == 200:
				if e := echo(t, s.APIURL(), res.text(t, "access_token")); e.Subject != "91475" || e.Scope != "WMS_NCIP WMS_ACQ" {
					t.Errorf("echo %+v", e)
				}
			}
		})
	}
}
