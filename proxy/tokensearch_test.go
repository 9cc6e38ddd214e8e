package proxy

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"token-sidecar/upstream"
)

// issue has the side's tokens be token.
func (s *side) issue(token string) {
	s.idp.answer = func(int64) (upstream.Token, error) {
		return upstream.NewToken(token, "", time.Now(), time.Now().Add(time.Hour))
	}
}

// TestTokenInAHeaderNameIsWithheld: a header is withheld if its name shows the token, in
// whatever case, since net/http changes that.
//
// Case P12.
func TestTokenInAHeaderNameIsWithheld(t *testing.T) {
	s := newSide(t, setup{})
	const token = "cAnArY_1.AbCd~0123+456-xyz"
	s.issue(token)
	s.up.say("HTTP/1.1 200 OK\r\n" + token + ": 1\r\nX-" + token + "-y: 1\r\nX-Kept: 1\r\nTrailer: T-" + token + "\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"2\r\nok\r\n0\r\nT-" + token + ": 1\r\nU-" + token + ": 1\r\nX-Also-Kept: 1\r\n\r\n")
	a := s.get("/alpha/x")
	if all := strings.ToLower(fmt.Sprint(a.header, a.trailer)); a.status != 200 || strings.Contains(all, "canary") {
		t.Errorf("%d, the app sees %s", a.status, all)
	}
	if a.header.Get("X-Kept") != "1" || a.trailer.Get("X-Also-Kept") != "1" || a.body != "ok" {
		t.Errorf("%q %q %q", a.header, a.trailer, a.body)
	}
}

// TestEncodedTokenIsWithheld: a header is withheld if its value has the token within base64,
// or beside a broken escape. The base64 of the second token differs between the alphabets.
//
// Case P12.
func TestEncodedTokenIsWithheld(t *testing.T) {
	for _, token := range []string{tokenOf(1), "canary-1~~~~~0123456789~~~~~"} {
		s := newSide(t, setup{})
		s.issue(token)
		shown := func(value string) bool {
			s.up.say("HTTP/1.1 200 OK\r\nX-A: " + value + "\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n")
			a := s.get("/alpha/x")
			if a.status != 200 || a.header.Get("X-Kept") != "1" {
				t.Fatalf("%d %q", a.status, a.header)
			}
			return a.header["X-A"] != nil
		}
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
			for _, text := range []string{token, "Bearer " + token, "a:" + token, `{"a":"` + token + `"}`, "xyz" + token + "x"} {
				value := alphabet.EncodeToString([]byte(text))
				twice := url.QueryEscape("https://a/?b=" + url.QueryEscape(value))
				for _, v := range []string{value, "t=" + value + ";", url.QueryEscape(value), "%zz" + twice} {
					if shown(v) {
						t.Errorf("%q in base64 is shown by %q", text, v)
					}
				}
			}
		}
		for _, v := range []string{"?t=" + url.QueryEscape(token) + "&q=%zz", "100%, " + token} {
			if shown(v) {
				t.Errorf("%q is shown", v)
			}
		}
		if !shown(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("some other text ", 9)))) {
			t.Error("base64 of another text is dropped")
		}
	}
}

// TestTokenInTheReasonPhraseIsWithheld: the app does not get the reason phrase of the target's
// 101. All other answers have that of net/http anyway.
//
// Case P12.
func TestTokenInTheReasonPhraseIsWithheld(t *testing.T) {
	s := newSide(t, setup{})
	s.warm()
	s.up.play(func(r *upRequest) bool {
		r.say("HTTP/1.1 101 " + tokenOf(1) + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Token-Subject: bob\r\nX-" + tokenOf(1)[:9] + ": 1\r\n\r\n")
		return false
	})
	c := dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if got := c.rest(patience); !strings.HasPrefix(got, "HTTP/1.1 101 Switching Protocols\r\n") || strings.Contains(got, "canary-1") || strings.Contains(got, "bob") {
		t.Errorf("the app sees %q", got)
	}
	s.up.say("HTTP/1.1 200 " + tokenOf(1) + "\r\nContent-Length: 0\r\n\r\n")
	c = dialRaw(t, s.addr)
	c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	if got := c.rest(patience); !strings.HasPrefix(got, "HTTP/1.1 200 OK\r\n") || strings.Contains(got, "canary") {
		t.Errorf("the app sees %q", got)
	}
}

// TestOwnNamesInAnswersAreWithheld: a target cannot set the headers by which the app and the
// sidecar talk, however it spells them.
//
// Case P12.
func TestOwnNamesInAnswersAreWithheld(t *testing.T) {
	s := newSide(t, setup{})
	names := []string{"X-Token-Subject", "X-Token-Scope", "X-Token-Route", "X-Sidecar-Token", "X_Token_Subject", "x_token_scope", "X-Token_Route",
		"X__Sidecar-Token", "-X-Token-Subject-", "XTokenSubject", "x.token.scope"}
	lines, trailers := "", ""
	for _, name := range names {
		lines += name + ": forged\r\n"
		trailers += name + ": forged\r\n"
	}
	for _, announced := range []string{"", "Trailer: X-Kept, " + strings.Join(names, ", ") + "\r\n"} {
		s.up.say("HTTP/1.1 200 OK\r\n" + lines + "X-Token-Kept: 1\r\n" + announced + "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n" +
			trailers + "X-Kept: 1\r\n\r\n")
		c := dialRaw(t, s.addr)
		c.write("GET /alpha/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		got := strings.Replace(c.rest(patience), "Vary: "+varies[0], "", 1)
		lower := strings.ToLower(got)
		if !strings.Contains(got, "X-Token-Kept: 1\r\n") || !strings.Contains(got, "X-Kept: 1\r\n") {
			t.Errorf("%q: the app sees %q", announced, got)
		}
		for _, name := range names {
			if strings.Contains(lower, strings.ToLower(name)) {
				t.Errorf("%q: the app sees %s in %q", announced, name, got)
			}
		}
	}
}
