package upstream

import (
	"net/url"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"token-sidecar/upstream/egress"
)

// changes has, for each field of OAuth2Config, another value than the one of a configuration
// that has only a token URL, and whether that makes another token of it.
var changes = map[string]struct {
	shapes bool
	change func(*OAuth2Config)
}{
	"TokenURL":       {true, func(c *OAuth2Config) { c.TokenURL = &url.URL{Scheme: "https", Host: "other.example"} }},
	"Issuer":         {true, func(c *OAuth2Config) { c.Issuer = &url.URL{Scheme: "https", Host: "issuer.example"} }},
	"Grant":          {true, func(c *OAuth2Config) { c.Grant = "account_credentials" }},
	"ClientID":       {true, func(c *OAuth2Config) { c.ClientID = "id" }},
	"ClientSecret":   {true, func(c *OAuth2Config) { c.ClientSecret = NewSecret("secret") }},
	"Auth":           {true, func(c *OAuth2Config) { c.Auth = AuthPost }},
	"PrivateKey":     {true, func(c *OAuth2Config) { c.PrivateKey = NewSecret("key") }},
	"KeyID":          {true, func(c *OAuth2Config) { c.KeyID = "kid" }},
	"Alg":            {true, func(c *OAuth2Config) { c.Alg = "PS256" }},
	"Certificate":    {true, func(c *OAuth2Config) { c.Certificate = NewSecret("certificate") }},
	"CertKey":        {true, func(c *OAuth2Config) { c.CertKey = NewSecret("key of a certificate") }},
	"CertHeader":     {true, func(c *OAuth2Config) { c.CertHeader = CertHeaderX5C }},
	"Audience":       {true, func(c *OAuth2Config) { c.Audience = "aud" }},
	"Claims":         {true, func(c *OAuth2Config) { c.Claims = NewSecret(`{"a":1}`) }},
	"Assertion":      {true, func(c *OAuth2Config) { c.Assertion = NewSecret(signedFor("one", "two", time.Now())) }},
	"AssertionType":  {true, func(c *OAuth2Config) { c.AssertionType = "jwt-spiffe" }},
	"Params":         {true, func(c *OAuth2Config) { c.Params = NewSecret("audience=a") }},
	"Headers":        {true, func(c *OAuth2Config) { c.Headers = NewSecret("X-A=b") }},
	"Method":         {true, func(c *OAuth2Config) { c.Method = "GET" }},
	"Body":           {true, func(c *OAuth2Config) { c.Body = BodyJSON }},
	"Answer":         {true, func(c *OAuth2Config) { c.Answer = AnswerText }},
	"ScopeIn":        {true, func(c *OAuth2Config) { c.ScopeIn = ScopeInAssertion }},
	"ScopeSeparator": {true, func(c *OAuth2Config) { c.ScopeSeparator = "," }},
	"Lifetime":       {true, func(c *OAuth2Config) { c.Lifetime = time.Minute }},
	"Subject":        {true, func(c *OAuth2Config) { c.Subject = SubjectPlace{Rule: SubjectOptional, Param: "user"} }},

	"SubjectTokenType": {true, func(c *OAuth2Config) { c.SubjectTokenType = "jwt" }},

	"SubjectHashKey":  {false, func(c *OAuth2Config) { c.SubjectHashKey = []byte("key") }}, // its hashes are in the key
	"Name":            {false, func(c *OAuth2Config) { c.Name = "other" }},                 // part of the key
	"Scope":           {false, func(c *OAuth2Config) { c.Scope = "read" }},                 // part of the key
	"AllowedScopes":   {false, func(c *OAuth2Config) { c.AllowedScopes = "write" }},
	"Target":          {false, func(c *OAuth2Config) { c.Target = &url.URL{Scheme: "https", Host: "api.example"} }},
	"Targets":         {false, func(c *OAuth2Config) { c.Targets = []Target{{"x", &url.URL{Scheme: "https", Host: "x.example"}}} }},
	"DefaultLifetime": {true, func(c *OAuth2Config) { c.DefaultLifetime = time.Hour }},
	"RefuseNarrow":    {true, func(c *OAuth2Config) { c.RefuseNarrow = true }},
	"Roots":           {false, func(c *OAuth2Config) {}},
	"Egress":          {false, func(c *OAuth2Config) { c.Egress = &egress.Proxy{Address: "proxy.example:3128"} }},
	"TokenHosts":      {false, func(c *OAuth2Config) { c.TokenHosts = []string{"token.example"} }},
	"NextKey":         {false, func(c *OAuth2Config) { c.NextKey = NewSecret("next") }},
	"PlainBasic":      {false, func(c *OAuth2Config) { c.PlainBasic = true }},
	"TargetHeaders":   {false, func(c *OAuth2Config) { c.TargetHeaders = NewSecret("X-A=b") }},
}

// signedFor returns a signed assertion of one party about itself for another.
func signedFor(issuer, audience string, now time.Time) string {
	key, err := NewSecretKey("a secret of thirty-two bytes or more", "HS256")
	if err != nil {
		panic(err)
	}
	text, err := assertion{issuer: issuer, subject: issuer, audience: audience, lifetime: time.Until(now) + time.Hour}.sign(key)
	if err != nil {
		panic(err)
	}
	return text
}

// fieldsOf returns the names of all settings, those that every upstream has too.
func fieldsOf(of reflect.Type) []string {
	var names []string
	for i := range of.NumField() {
		if f := of.Field(i); f.Anonymous {
			names = append(names, fieldsOf(f.Type)...)
		} else {
			names = append(names, f.Name)
		}
	}
	return names
}

// No setting is forgotten: a new field of OAuth2Config fails here until it is decided
// whether it shapes a token.
func TestEverySettingIsKnownToShapeATokenOrNot(t *testing.T) {
	plain := OAuth2Config{Config: Config{TokenURL: &url.URL{Scheme: "https", Host: "token.example"}}}
	before := NewOAuth2(plain).Fingerprint()
	for _, name := range fieldsOf(reflect.TypeFor[OAuth2Config]()) {
		row, known := changes[name]
		if !known {
			t.Errorf("it is not decided whether %s shapes a token", name)
			continue
		}
		c := plain
		row.change(&c)
		if differs := NewOAuth2(c).Fingerprint() != before; differs != row.shapes {
			t.Errorf("%s: the fingerprint differs: %t, want %t", name, differs, row.shapes)
		}
	}
}

// Two configurations have the same fingerprint exactly when they agree in all settings
// that shape a token.
func TestFingerprintsOfAnyTwoSettingsDiffer(t *testing.T) {
	var names []string
	for name := range changes {
		names = append(names, name)
	}
	build := func(chosen map[string]bool) Fingerprint {
		c := OAuth2Config{Config: Config{TokenURL: &url.URL{Scheme: "https", Host: "token.example"}}}
		for _, name := range names {
			if chosen[name] {
				changes[name].change(&c)
			}
		}
		return NewOAuth2(c).Fingerprint()
	}
	rapid.Check(t, func(t *rapid.T) {
		one, other := map[string]bool{}, map[string]bool{}
		for _, name := range rapid.SliceOf(rapid.SampledFrom(names)).Draw(t, "both") {
			one[name], other[name] = true, true
		}
		for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 2).Draw(t, "one") {
			one[name] = true
		}
		same := true
		for _, name := range names {
			same = same && (one[name] == other[name] || !changes[name].shapes)
		}
		if got := build(one) == build(other); got != same {
			t.Fatalf("equal fingerprints: %t, want %t", got, same)
		}
	})
}

// The file differs from pod to pod and is renewed each hour.
func TestRenewedAssertionKeepsTheFingerprint(t *testing.T) {
	of := func(text string) Fingerprint {
		return NewOAuth2(OAuth2Config{Auth: AuthAssertionFile, Assertion: NewSecret(text)}).Fingerprint()
	}
	first := of(signedFor("pod", "provider", time.Now()))
	if of(signedFor("pod", "provider", time.Now().Add(time.Hour))) != first {
		t.Error("a renewed assertion has another fingerprint")
	}
	for _, other := range []string{signedFor("pod2", "provider", time.Now()), signedFor("pod", "other", time.Now())} {
		if of(other) == first {
			t.Error("an assertion of another party, or for another, has the same fingerprint")
		}
	}
}
