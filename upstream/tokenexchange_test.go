package upstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// jwtUntil returns an unsigned JWT with this exp, as nobody but its audience verifies it.
func jwtUntil(exp string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":`+exp+`}`)) + ".c2ln"
}

// One user's refusal is that user's, whatever status and code say it: only what is said of
// the client or of what it asks reaches further.
//
// Case EXC3.
func TestRefusedExchangeConcernsOneUser(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   Class
	}{
		{400, `{"error":"invalid_request"}`, ClassSubject}, // RFC 8693 section 2.2.2
		{400, `{"error":"invalid_grant"}`, ClassSubject},
		{400, `{"error":"invalid_token"}`, ClassSubject},
		{400, `no JSON`, ClassSubject},
		{401, ``, ClassSubject},
		{401, `{"error":"access_denied"}`, ClassSubject},
		{401, `{"error":"invalid_token"}`, ClassSubject},
		{403, `<html>`, ClassSubject},
		{400, `{"error":"invalid_target"}`, ClassScope},
		{401, `{"error":"unauthorized_client"}`, ClassScope},
		{400, `{"error":"invalid_client"}`, ClassCredential},
		{401, `{"error":"invalid_client"}`, ClassCredential},
		{429, ``, ClassThrottled},
		{503, ``, ClassUnavailable},
		{404, ``, ClassMalformed},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		at, _ := url.Parse(server.URL)
		u := NewOAuth2(OAuth2Config{Config: Config{TokenURL: at, Target: at, DefaultLifetime: time.Minute}, Name: "up", Grant: GrantTokenExchange, SubjectHashKey: []byte("k")})
		key, err := u.Key(KindExchanged, "user-token", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.Fetch(WithSubjectToken(t.Context(), NewSecret("user-token")), key, nil)
		var failed *Error
		if !errors.As(err, &failed) || failed.Class != c.want || failed.Unsure {
			t.Errorf("%d %s: %v, want %s", c.status, c.body, err, c.want)
		}
		u.CloseIdleConnections()
		server.Close()
	}
}

// A token that was got for another lives no longer than that, if it says how long it lives,
// and else no longer than the settings say.
//
// Case EXC4.
func TestExchangedTokenLivesNoLongerThanTheUsersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		in := func(d time.Duration) string { return jwtUntil(fmt.Sprint(now.Add(d).Unix())) }
		for _, c := range []struct {
			token    string
			lifetime time.Duration
			want     time.Duration
		}{
			{in(10 * time.Minute), 0, 10 * time.Minute},
			{in(10 * time.Minute), time.Minute, time.Minute},
			{in(10 * time.Minute), time.Hour, 10 * time.Minute},
			{in(400 * 24 * time.Hour), 0, maxLifetime},
			{jwtUntil("1e300"), 0, maxLifetime},
			{"opaque", 0, 5 * time.Minute},
			{"opaque", time.Minute, time.Minute},
			{"opaque", 2 * time.Hour, 2 * time.Hour},
			{jwtUntil(`"soon"`), 0, 5 * time.Minute},
			{in(time.Minute) + ".a.b", 0, 5 * time.Minute}, // encrypted: nobody but its audience reads it
		} {
			config := OAuth2Config{Config: Config{DefaultLifetime: 5 * time.Minute}, Lifetime: c.lifetime}
			if got := config.longestExchanged(c.token, now); got != c.want {
				t.Errorf("%s with LIFETIME %s: %s, want %s", c.token, c.lifetime, got, c.want)
			}
		}
	})
}

// The life that the answer gives is cut, and never stretched, and a token without life is no
// token of the user.
func TestAnswerOfAnExchangeIsCutToTheUsersLife(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","expires_in":600}`)
	}))
	defer server.Close()
	at, _ := url.Parse(server.URL)
	u := NewOAuth2(OAuth2Config{Config: Config{TokenURL: at, Target: at, DefaultLifetime: time.Hour}, Name: "up", Grant: GrantTokenExchange,
		Lifetime: 20 * time.Minute, SubjectHashKey: []byte("k")})
	defer u.CloseIdleConnections()
	life := func(token string) time.Duration {
		t.Helper()
		key, err := u.Key(KindExchanged, token, "")
		if err != nil {
			t.Fatal(err)
		}
		got, err := u.Fetch(WithSubjectToken(context.Background(), NewSecret(token)), key, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Expiry().Sub(got.Issued())
	}
	if got := life("opaque"); got != 10*time.Minute {
		t.Errorf("an opaque token: %s", got)
	}
	if got := life(jwtUntil(fmt.Sprint(time.Now().Add(time.Minute).Unix()))); got > time.Minute || got < 58*time.Second {
		t.Errorf("a JWT of a minute: %s", got)
	}
	if _, err := u.Key(KindExchanged, jwtUntil(fmt.Sprint(time.Now().Unix())), ""); !errors.Is(err, ErrSubjectTokenExpired) {
		t.Errorf("an expired one: %v", err)
	}
}

// The key of a token names the user's token by a hash that nobody can compute who has not the
// key of the hashes.
func TestKeyOfAnExchangeHidesTheUsersToken(t *testing.T) {
	of := func(key, token string) string {
		u := NewOAuth2(OAuth2Config{Name: "up", Grant: GrantTokenExchange, SubjectHashKey: []byte(key)})
		k, err := u.Key(KindExchanged, token, "")
		if err != nil {
			t.Fatal(err)
		}
		return k.Subject
	}
	one := of("k", "one")
	if one != of("k", "one") || one == of("k", "two") || one == of("other", "one") {
		t.Error("equal hashes mean the same token under the same key")
	}
	if len(of("k", "one")) != base64.RawURLEncoding.EncodedLen(32) {
		t.Error("the hash is not whole")
	}
}
