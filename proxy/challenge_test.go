package proxy

import (
	"slices"
	"strings"
	"testing"
)

// TestRefusedScopeReplacesNoToken: the token is good, and the next one would have the
// same scope. The 401 reaches the app as it came.
//
// Case P8.
func TestRefusedScopeReplacesNoToken(t *testing.T) {
	for _, challenges := range [][]string{
		{`Bearer error="insufficient_scope"`},
		{`Bearer realm="api", error="insufficient_scope", scope="a b"`},
		{`bEARER ERROR=insufficient_scope`},
		{`Bearer error = "insufficient_scope"`},
		{`Basic realm="a, Bearer error=\"invalid_token\"", Bearer error="insufficient_scope"`},
		{`Negotiate abc==, Bearer error="insufficient_scope"`},
		{`Bearer realm="a"`, `Bearer error="insufficient_scope"`},
		{`Digest nonce="x", error="invalid_token"`, `Bearer error="insufficient_scope"`},
		{`Bearer realm="a"`, `error="insufficient_scope"`}, // one list in two lines (RFC 9110 section 5.3)
		{`, ,Bearer error="\insufficient_scope",,`},
	} {
		s := newSide(t, setup{})
		s.warm()
		s.up.say("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: " + strings.Join(challenges, "\r\nWWW-Authenticate: ") +
			"\r\nContent-Length: 4\r\n\r\nnope")
		for _, method := range []string{"GET", "POST", "PUT"} {
			a := s.send(method, "/alpha/x", "body")
			if a.status != 401 || a.body != "nope" || !slices.Equal(a.header["Www-Authenticate"], challenges) {
				t.Errorf("%q: %s got %d %q, %q", challenges, method, a.status, a.body, a.header["Www-Authenticate"])
			}
		}
		if got, asked := len(s.up.requests()), s.idp.count.Load(); got != 3 || asked != 1 {
			t.Errorf("%q: %d requests for three, %d token requests for one", challenges, got, asked)
		}
		s.up.play(nil)
		s.get("/alpha/x")
		s.up.last().authorized(t, tokenOf(1))
	}
}

// TestOtherChallengesReplaceTheToken: only a plain word of the target's that the token
// is good spares it.
//
// Case P8.
func TestOtherChallengesReplaceTheToken(t *testing.T) {
	for _, challenges := range [][]string{
		nil,
		{``},
		{`Bearer`},
		{`Bearer error="invalid_token"`},
		{`Bearer error="insufficient_scope"`, `Bearer error="invalid_token"`},
		{`Bearer error="insufficient_scope", Bearer realm="a", error=invalid_token`},
		{`Bearer error="insufficient_scope", error="invalid_token"`},
		{`Bearer realm="error=insufficient_scope"`},
		{`Bearer realm="a\", error=\"insufficient_scope"`},
		{`Bearer error_description="insufficient_scope"`},
		{`Basic error="insufficient_scope"`},
		{`Bearer realm="x", Basic error="insufficient_scope"`},
		{`Bearer error="INSUFFICIENT_SCOPE"`},
		{`Bearer error="insufficient_scope`}, // no end
		{`Bearer error="insufficient_scope", "`},
		{`XBearer error="insufficient_scope"`},
		{`error="insufficient_scope"`},
	} {
		s := newSide(t, setup{})
		s.warm()
		s.up.play(func(r *upRequest) bool {
			if r.n > 1 {
				return hello(r)
			}
			head := "HTTP/1.1 401 Unauthorized\r\n"
			for _, c := range challenges {
				head += "WWW-Authenticate: " + c + "\r\n"
			}
			r.say(head + "Content-Length: 0\r\n\r\n")
			return true
		})
		if a := s.get("/alpha/x"); a.status != 200 || s.idp.count.Load() != 2 {
			t.Errorf("%q: %d, %d token requests", challenges, a.status, s.idp.count.Load())
			continue
		}
		s.up.last().authorized(t, tokenOf(2))
	}
}

// FuzzChallengesOfEveryForm: no challenge keeps the sidecar busy or breaks it, and what the scheme
// Bearer says in a list of its own is found in any list that ends with it.
//
// Case P8.
func FuzzChallengesOfEveryForm(f *testing.F) {
	for _, seed := range []string{"", "Bearer", `Bearer error="a"`, `Basic abc==`, `a b="c\"d", e f=g`, `,,a = b`, `"`, `a "b`, `Bearer error=`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, first string) {
		reasons, ok := bearerErrors([]string{first})
		all, okToo := bearerErrors([]string{first, `Bearer error="insufficient_scope"`})
		if ok && (!okToo || !slices.Equal(all, append(reasons, "insufficient_scope"))) {
			t.Errorf("%q: errors %q, %v; with another challenge %q, %v", first, reasons, ok, all, okToo)
		}
	})
}
