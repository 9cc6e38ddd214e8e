package upstream

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream/upstreamtest"
)

// The answers that service and participant requests have in common. The class
// of those that blame a subject is written by the caller.
func myDataHelpsAnswers(grant, credential string) []told {
	return []told{
		{"good", body(`{"access_token":"svc-1","expires_in":600,"token_type":"Bearer"}`), "svc-1 10m0s"},
		{"life as a string", body(`{"access_token":"svc-1","expires_in":"600","token_type":"Bearer"}`), "svc-1 10m0s"},
		{"no life", body(`{"access_token":"svc-1","token_type":"Bearer"}`), "svc-1 1m0s"},
		{"refresh token", body(`{"access_token":"svc-1","refresh_token":"canary","token_type":"Bearer"}`), "svc-1 1m0s"},
		{"no token", body(`{"expires_in":600,"token_type":"Bearer"}`), "malformed"},
		{"another member", body(`{"token":"canary","token_type":"Bearer"}`), "malformed"},
		{"no type", body(`{"access_token":"canary","expires_in":600}`), "malformed"},
		{"page", body(`<!DOCTYPE html><p>canary`).with("Content-Type", "text/html"), "malformed"},
		{"invalid_client", refused(400, `{"error":"invalid_client"}`), credential + " invalid_client"},
		{"invalid_client by 401", refused(401, `{"error":"invalid_client","error_description":"canary"}`), credential + " invalid_client"},
		{"401 alone", refused(401, ``), credential},
		{"invalid_scope", refused(400, `{"error":"invalid_scope"}`), "scope invalid_scope"},
		{"unauthorized_client", refused(400, `{"error":"unauthorized_client"}`), "scope unauthorized_client"},
		{"unsupported_grant_type", refused(400, `{"error":"unsupported_grant_type"}`), "scope unsupported_grant_type"},
		{"invalid_grant", refused(400, `{"error":"invalid_grant"}`), grant + " invalid_grant"},
		{"unknown code", refused(400, `{"error":"canary"}`), "malformed"},
		{"page of 400", refused(400, `<html>canary`), "malformed"},
		{"page of a firewall", refused(403, `<html>canary`), "malformed"},
		{"429", refused(429, ``).with("Retry-After", "7"), "throttled in 7s"},
		{"429 by the hour", refused(429, `canary`).with("RateLimit-Reset", "40"), "throttled in 40s"},
		{"429 alone", refused(429, `{}`), "throttled"},
		{"500", refused(500, `<html>canary`), "unavailable"},
		{"503", refused(503, ``).with("Retry-After", "3"), "unavailable in 3s"},
	}
}

func TestMyDataHelpsServiceAnswers(t *testing.T) {
	key := newMyDataHelpsSimulation(t, upstreamtest.Options{}).PrivateKey()
	wantOutcomes(t, myDataHelpsAnswers("scope", "credential"), func(tokenURL string) func() (Token, error) {
		u := newTestMyDataHelps(t, tokenURL, key, nil)
		return func() (Token, error) { return fetchService(t, u) }
	})
}

// The delegated client that is refused is not the service account: what it
// means stays with the participants.
func TestMyDataHelpsParticipantAnswers(t *testing.T) {
	wantOutcomes(t, myDataHelpsAnswers("subject", "scope"), func(tokenURL string) func() (Token, error) {
		u := newTestMyDataHelps(t, tokenURL, "", nil)
		return func() (Token, error) {
			tokens := newChain(t, u)
			tokens.stuck = true
			tokens.held[mustKey(t, u, KindService, "", "")] = mustNewToken(t, "svc")
			return u.Fetch(t.Context(), mustKey(t, u, KindParticipant, "alice", ""), tokens)
		}
	})
}

func mustNewToken(t *testing.T, access string) Token {
	t.Helper()
	token, err := NewToken(access, "", time.Now(), time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// One assertion may be lost by replay or delay, two
// are refused for a reason. Nothing else is asked twice.
func TestMyDataHelpsAsksTwiceWithAnotherAssertion(t *testing.T) {
	key := newMyDataHelpsSimulation(t, upstreamtest.Options{}).PrivateKey()
	good := body(`{"access_token":"svc-1","expires_in":600,"token_type":"Bearer"}`)
	bad := refused(400, `{"error":"invalid_client"}`)
	for _, tt := range []struct {
		name    string
		replies []reply
		asked   int
		want    string
	}{
		{"good", []reply{good}, 1, "svc-1 10m0s"},
		{"second is good", []reply{bad, good}, 2, "svc-1 10m0s"},
		{"401, second is good", []reply{refused(401, ""), good}, 2, "svc-1 10m0s"},
		{"both are refused", []reply{bad, bad, good}, 2, "credential invalid_client"},
		{"second fails otherwise", []reply{bad, refused(503, "")}, 2, "unavailable"},
		{"invalid_scope", []reply{refused(400, `{"error":"invalid_scope"}`), good}, 1, "scope invalid_scope"},
		{"503", []reply{refused(503, ""), good}, 1, "unavailable"},
		{"429", []reply{refused(429, ""), good}, 1, "throttled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(t, tt.replies...)
			token, err := fetchService(t, newTestMyDataHelps(t, r.url, key, nil))
			if got := outcome(t, token, err); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			bodies, _ := r.requests()
			if jti := jtiOf(t, bodies); len(bodies) != tt.asked || len(jti) != tt.asked {
				t.Errorf("%d token requests with %d different jti, want %d", len(bodies), len(jti), tt.asked)
			}
		})
	}
}

// jtiOf returns the different jti of some requests.
func jtiOf(t *testing.T, bodies []string) []string {
	t.Helper()
	var all []string
	for _, b := range bodies {
		_, claims := assertionOf(t, b)
		all = append(all, claims["jti"].(string))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// A delegated client that is refused is not asked again: it has no assertion
// that could have been late.
func TestMyDataHelpsDelegatedClientIsAskedOnce(t *testing.T) {
	r := newRecorder(t, refused(400, `{"error":"invalid_client"}`))
	u := newTestMyDataHelps(t, r.url, "", nil)
	tokens := newChain(t, u)
	tokens.held[mustKey(t, u, KindService, "", "")] = mustNewToken(t, "svc")
	token, err := u.Fetch(t.Context(), mustKey(t, u, KindParticipant, "alice", ""), tokens)
	bodies, _ := r.requests()
	if got := outcome(t, token, err); got != "scope invalid_client" || len(bodies) != 1 || tokens.rejected != 0 {
		t.Errorf("got %s after %d token requests and %d rejections", got, len(bodies), tokens.rejected)
	}
}

// A Transport repeats a request by itself when a kept connection breaks. The
// server may have read the first copy.
func TestMyDataHelpsAssertionOfARepeatedRequest(t *testing.T) {
	key := newMyDataHelpsSimulation(t, upstreamtest.Options{}).PrivateKey()
	target, received := serveBreaking(t)
	u := newTestMyDataHelps(t, target, key, nil)
	for range 2 {
		if _, err := fetchService(t, u); err != nil {
			t.Fatal(err)
		}
	}
	u.endpoint.client.CloseIdleConnections()
	bodies := received()
	if jti := jtiOf(t, bodies); len(bodies) != 3 || len(jti) != 3 {
		t.Errorf("%d requests came with %d different jti, want 3", len(bodies), len(jti))
	}
}

// Every form of the key that the provider or an operator
// may write signs what the simulation takes.
func TestMyDataHelpsKeysOfEveryFormSign(t *testing.T) {
	s := newMyDataHelpsSimulation(t, upstreamtest.Options{})
	parsed := readKey(t, s.PrivateKey())
	raw, err := x509.MarshalPKCS8PrivateKey(parsed)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1, pkcs8 := s.PrivateKey(), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	for name, key := range map[string]string{
		"PKCS#1":          pkcs1,
		"PKCS#8":          pkcs8,
		"PKCS#1 escaped":  strings.ReplaceAll(pkcs1, "\n", `\n`),
		"PKCS#8 escaped":  strings.ReplaceAll(pkcs8, "\n", `\n`),
		"CRLF":            strings.ReplaceAll(pkcs1, "\n", "\r\n"),
		"white space":     "\n  " + pkcs1 + "\n\n",
		"no last newline": strings.TrimSpace(pkcs8),
	} {
		if _, err := fetchService(t, newTestMyDataHelps(t, s.TokenURL(), key, nil)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMyDataHelpsKeyRotates(t *testing.T) {
	s := newMyDataHelpsSimulation(t, upstreamtest.Options{})
	old, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(old)})))
	u := newTestMyDataHelps(t, s.TokenURL(), "", func(c *MyDataHelpsConfig) { c.PrivateKey = key })
	before := u.Fingerprint()
	token, err := fetchService(t, u)
	if got := outcome(t, token, err); got != "credential invalid_client" {
		t.Errorf("with another key: %s", got)
	}
	key.Replace("canary-key")
	token, err = fetchService(t, u)
	if got, n := outcome(t, token, err), s.TokenRequests(); got != "credential" || n != 2 {
		t.Errorf("with no key: %s after %d token requests, want none beside the two before", got, n)
	}
	key.Replace(s.PrivateKey())
	if _, err := fetchService(t, u); err != nil || u.Fingerprint() == before {
		t.Errorf("with the right key: %v, and the fingerprint differs: %t", err, u.Fingerprint() != before)
	}
}
