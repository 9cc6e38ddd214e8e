package upstream

import (
	"encoding/base64"
	"errors"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"token-sidecar/upstream/upstreamtest"
)

const (
	mdhAccount     = "MyDataHelps.4242.sidecar"
	mdhParticipant = "7d0a4c1e-1111-4222-8333-944455556666"
)

func newTestMyDataHelps(t *testing.T, tokenURL, key string, change func(*MyDataHelpsConfig)) *myDataHelps {
	t.Helper()
	c := MyDataHelpsConfig{
		Config: Config{TokenURL: parseURL(t, tokenURL), Target: parseURL(t, "https://mydatahelps.example"),
			Scope: "Participant:read SurveyAnswers:read", DefaultLifetime: time.Minute},
		ServiceAccount:        mdhAccount,
		PrivateKey:            NewSecret(key),
		DelegatedClientID:     "RKStudio.DelegatedParticipant",
		DelegatedClientSecret: NewSecret("secret"),
	}
	if change != nil {
		change(&c)
	}
	u := NewMyDataHelps(c).(*myDataHelps)
	closeIdle(t, u.endpoint)
	return u
}

func newMyDataHelpsSimulation(t *testing.T, o upstreamtest.Options) *upstreamtest.Server {
	s := upstreamtest.NewMyDataHelps(o)
	t.Cleanup(s.Close)
	return s
}

func fetchService(t *testing.T, u Upstream) (Token, error) {
	t.Helper()
	return u.Fetch(t.Context(), mustKey(t, u, KindService, "", ""), noTokens{t})
}

func TestMyDataHelpsServiceRequestIsWhatTheContractAsks(t *testing.T) {
	s := newMyDataHelpsSimulation(t, upstreamtest.Options{Lifetime: 10 * time.Minute})
	for _, tt := range []struct {
		name   string
		change func(*MyDataHelpsConfig)
		aud    string
		life   time.Duration
		good   bool
	}{
		{"as published", nil, s.TokenURL(), 200 * time.Second, true},
		{"shorter life", func(c *MyDataHelpsConfig) { c.AssertionLifetime = 5 * time.Second }, s.TokenURL(), 5 * time.Second, true},
		{"another audience", func(c *MyDataHelpsConfig) { c.Audience = "https://other.example/token" }, "https://other.example/token", 200 * time.Second, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newTestMyDataHelps(t, s.TokenURL(), s.PrivateKey(), tt.change)
			before := time.Now()
			token, err := fetchService(t, u)
			log := s.TokenRequestLog()
			assertion := wantServiceWire(t, s)
			wantAssertion(t, s, assertion, tt.aud, before.Add(tt.life))
			if !tt.good {
				if e := failure(t, token, err); e.Class != ClassCredential || e.Code != "invalid_client" || e.Status != 400 {
					t.Errorf("error is %+v", e)
				}
				if reason := log[len(log)-1].Reason; reason != "assertion: aud is not the token URL" {
					t.Errorf("the simulation refused since %s", reason)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g, ok := s.Issued(token.AccessToken()); !ok || g.Kind != upstreamtest.KindService || token.Expiry().Sub(token.Issued()) != 10*time.Minute {
				t.Errorf("the token is %+v until %v", g, token.Expiry())
			}
		})
	}
}

// wantServiceWire compares the latest request with what a service token
// request must be, and returns its assertion.
func wantServiceWire(t *testing.T, s *upstreamtest.Server) string {
	t.Helper()
	log := s.TokenRequestLog()
	body := log[len(log)-1].Body
	fields, _ := url.ParseQuery(body)
	assertion := fields.Get("client_assertion")
	wantWire(t, s, "POST /identityserver/connect/token\nAccept: application/json\n"+
		"Content-Length: "+strconv.Itoa(len(body))+"\nContent-Type: application/x-www-form-urlencoded\nUser-Agent: token-sidecar\n\n"+
		"client_assertion="+assertion+
		"&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&grant_type=client_credentials&scope=api")
	return assertion
}

// wantAssertion takes a JWT apart: header bytes, signature, every claim.
func wantAssertion(t *testing.T, s *upstreamtest.Server, assertion, aud string, exp time.Time) {
	t.Helper()
	head, _, _ := strings.Cut(assertion, ".")
	if raw, err := base64.RawURLEncoding.DecodeString(head); err != nil || string(raw) != `{"alg":"RS256","typ":"JWT"}` {
		t.Errorf("the header is %s", raw)
	}
	key := readKey(t, s.PrivateKey())
	claims := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(assertion, claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil }); err != nil {
		t.Errorf("the assertion is no good: %v", err)
	}
	end, _ := claims["exp"].(float64)
	if late := int64(end) - exp.Unix(); late < 0 || late > 5 {
		t.Errorf("exp is %.0f, want %d", end, exp.Unix())
	}
	if jti, _ := claims["jti"].(string); !uuid4.MatchString(jti) {
		t.Errorf("jti is %q, want a random UUID", jti)
	}
	delete(claims, "exp")
	delete(claims, "jti")
	if want := (jwt.MapClaims{"iss": mdhAccount, "sub": mdhAccount, "aud": aud}); !reflect.DeepEqual(claims, want) {
		t.Errorf("further claims are %v, want %v", claims, want)
	}
}

func TestMyDataHelpsParticipantRequestIsWhatTheContractAsks(t *testing.T) {
	const scopes = "Participant%3Aread+SurveyAnswers%3Aread"
	for _, tt := range []struct {
		name    string
		change  func(*MyDataHelpsConfig)
		subject string
		scope   string // that the request names
		form    string // but for the token
		want    string // class and code, empty: a token
	}{
		{"as published", nil, mdhParticipant, "",
			"client_id=RKStudio.DelegatedParticipant&client_secret=secret&grant_type=delegated_participant&participant_id=" + mdhParticipant + "&scope=" + scopes, ""},
		{"narrower", nil, mdhParticipant, "Participant:read",
			"client_id=RKStudio.DelegatedParticipant&client_secret=secret&grant_type=delegated_participant&participant_id=" + mdhParticipant + "&scope=Participant%3Aread", ""},
		{"newer client", func(c *MyDataHelpsConfig) {
			c.DelegatedClientID, c.Scope = "MyDataHelps.DelegatedParticipant", "user/*.read"
		}, "a+b/c=&~", "",
			"client_id=MyDataHelps.DelegatedParticipant&client_secret=secret&grant_type=delegated_participant&participant_id=a%2Bb%2Fc%3D%26~&scope=user%2F%2A.read", ""},
		{"wrong client secret", func(c *MyDataHelpsConfig) { c.DelegatedClientSecret = NewSecret("other") }, mdhParticipant, "",
			"client_id=RKStudio.DelegatedParticipant&client_secret=other&grant_type=delegated_participant&participant_id=" + mdhParticipant + "&scope=" + scopes,
			"scope invalid_client"},
		{"unknown scope", func(c *MyDataHelpsConfig) { c.Scope = "Unheard:of" }, mdhParticipant, "",
			"client_id=RKStudio.DelegatedParticipant&client_secret=secret&grant_type=delegated_participant&participant_id=" + mdhParticipant + "&scope=Unheard%3Aof",
			"scope invalid_scope"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newMyDataHelpsSimulation(t, upstreamtest.Options{})
			u := newTestMyDataHelps(t, s.TokenURL(), s.PrivateKey(), tt.change)
			tokens := newChain(t, u)
			token, err := u.Fetch(t.Context(), mustKey(t, u, KindParticipant, tt.subject, tt.scope), tokens)
			service, _ := tokens.Token(t.Context(), mustKey(t, u, KindService, "", ""))
			encode := strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D")
			form := tt.form + "&token=" + encode.Replace(service.AccessToken())
			wantWire(t, s, "POST /identityserver/connect/token\nAccept: application/json\nContent-Length: "+strconv.Itoa(len(form))+
				"\nContent-Type: application/x-www-form-urlencoded\nUser-Agent: token-sidecar\n\n"+form)
			if tt.want != "" {
				if got := outcome(t, token, err); got != tt.want || s.TokenRequests() != 2 {
					t.Errorf("got %s after %d token requests, want %s after 2", got, s.TokenRequests(), tt.want)
				}
				return
			}
			if g, ok := s.Issued(token.AccessToken()); err != nil || !ok || g.Subject != tt.subject || g.Kind != upstreamtest.KindParticipant {
				t.Errorf("got a token of %+v, %v", g, err)
			}
		})
	}
}

// A participant is refused or the service token is dead: both are invalid_grant.
func TestMyDataHelpsInvalidGrantReplacesTheServiceTokenOnce(t *testing.T) {
	s := newMyDataHelpsSimulation(t, upstreamtest.Options{KnowsParticipant: func(id string) bool { return id != "nobody" }})
	u := newTestMyDataHelps(t, s.TokenURL(), s.PrivateKey(), nil)
	tokens := newChain(t, u)
	ask := func(subject string) string {
		token, err := u.Fetch(t.Context(), mustKey(t, u, KindParticipant, subject, ""), tokens)
		if err == nil {
			return "token"
		}
		return outcome(t, token, err)
	}
	for _, step := range []struct {
		name, subject string
		before        func()
		want          string
		asked         int // token requests
		rejected      int
	}{
		{"first", "alice", func() {}, "token", 2, 0},
		{"second", "bob", func() {}, "token", 1, 0},
		{"unknown", "nobody", func() {}, "subject invalid_grant", 3, 1},
		{"others go on", "carol", func() {}, "token", 1, 0},
		{"dead service token", "dave", func() { s.RevokeSubject("") }, "token", 3, 1},
		{"dead, and no other", "erin", func() { s.RevokeSubject(""); tokens.stuck = true }, "subject invalid_grant", 1, 1},
	} {
		step.before()
		asked, rejected := s.TokenRequests(), tokens.rejected
		if got := ask(step.subject); got != step.want {
			t.Errorf("%s: got %s, want %s", step.name, got, step.want)
		}
		if n, r := s.TokenRequests()-asked, tokens.rejected-rejected; n != step.asked || r != step.rejected {
			t.Errorf("%s: %d token requests, %d rejections, want %d and %d", step.name, n, r, step.asked, step.rejected)
		}
	}
}

func TestFailedServiceTokenMakesNoParticipantRequest(t *testing.T) {
	s := newMyDataHelpsSimulation(t, upstreamtest.Options{})
	u := newTestMyDataHelps(t, s.TokenURL(), s.PrivateKey(), nil)
	tokens := newChain(t, u)
	tokens.err = errors.New("of the cache")
	token, err := u.Fetch(t.Context(), mustKey(t, u, KindParticipant, "alice", ""), tokens)
	if !errors.Is(err, tokens.err) || !token.IsZero() || s.TokenRequests() != 0 {
		t.Errorf("got %v after %d token requests, want the error as it is after none", err, s.TokenRequests())
	}
}

func TestMyDataHelpsRoutesAndKeys(t *testing.T) {
	u := newTestMyDataHelps(t, "http://token.example/", "", func(c *MyDataHelpsConfig) {
		c.Targets = []Target{{"designer", parseURL(t, "https://designer.example")}}
	})
	want := []Route{
		{"mydatahelps", u.config.Target, KindService, SubjectRefused, nil},
		{"mydatahelps.designer", u.config.Targets[0].URL, KindService, SubjectRefused, nil},
		{"mydatahelps.participant", u.config.Target, KindParticipant, SubjectRequired, nil},
	}
	if got := u.Routes(); !reflect.DeepEqual(got, want) {
		t.Errorf("routes are %v, want %v", got, want)
	}
	for _, tt := range []struct {
		kind           Kind
		subject, scope string
		err            error
	}{
		{KindService, "", "", nil},
		{KindService, "alice", "", ErrSubjectNotTaken},
		{KindService, "", "Participant:read", ErrScopeNotAllowed},
		{KindParticipant, "alice", "", nil},
		{KindParticipant, "alice", "SurveyAnswers:read", nil},
		{KindParticipant, "alice", "api", ErrScopeNotAllowed},
		{KindParticipant, "", "", ErrSubjectRequired},
	} {
		if _, err := u.Key(tt.kind, tt.subject, tt.scope); !errors.Is(err, tt.err) {
			t.Errorf("%s of %q for %q: %v, want %v", tt.kind, tt.subject, tt.scope, err, tt.err)
		}
	}
}
