package interop

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v3"
	"github.com/go-jose/go-jose/v3/jwt"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
	"golang.org/x/crypto/bcrypt"
)

// fositeServer is an authorization server in this process.
type fositeServer struct {
	url string // of the token endpoint

	mu       sync.Mutex // guards the fields below; the provider fills its configuration in as it goes
	provider fosite.OAuth2Provider
	store    *storage.MemoryStore
	refusals map[string]string // why the last token request of a client was refused
}

// startFosite starts an authorization server without clients.
func startFosite(t *testing.T) *fositeServer {
	t.Helper()
	s := &fositeServer{store: storage.NewMemoryStore(), refusals: map[string]string{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL + "/token"
	config := &fosite.Config{
		TokenURL: s.url, GlobalSecret: []byte("a secret of thirty-two characters"), HashCost: bcrypt.MinCost,
		GrantTypeJWTBearerCanSkipClientAuth: true, SendDebugMessagesToClients: true,
	}
	s.provider = compose.Compose(config, s.store, compose.NewOAuth2HMACStrategy(config), compose.OAuth2ClientCredentialsGrantFactory,
		compose.RFC7523AssertionGrantFactory, compose.OAuth2TokenIntrospectionFactory)
	return s
}

// add adds a client that proves itself in the way that method names. Its public keys are those
// of set or, if that is nil, those that uri has.
func (s *fositeServer) add(t *testing.T, id, method, alg, uri string, set *jose.JSONWebKeySet) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(oddSecret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.Clients[id] = &fosite.DefaultOpenIDConnectClient{TokenEndpointAuthMethod: method, TokenEndpointAuthSigningAlgorithm: alg,
		JSONWebKeysURI: uri, JSONWebKeys: set, DefaultClient: &fosite.DefaultClient{
			ID: id, Secret: hash, GrantTypes: []string{"client_credentials"}, Scopes: []string{"read"}}}
}

// trust has assertions about subject that issuer signs with the key of set taken as a grant.
func (s *fositeServer) trust(issuer, subject string, set jose.JSONWebKeySet) {
	key := set.Keys[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.IssuerPublicKeys[issuer] = storage.IssuerPublicKeys{Issuer: issuer, KeysBySub: map[string]storage.SubjectPublicKeys{
		subject: {Subject: subject, Keys: map[string]storage.PublicKeyScopes{key.KeyID: {Key: &key, Scopes: []string{"read"}}}},
	}}
}

// ServeHTTP is the token endpoint.
func (s *fositeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	request, err := s.provider.NewAccessRequest(r.Context(), r, &fosite.DefaultSession{})
	if err != nil {
		s.refused(r, err)
		s.provider.WriteAccessError(r.Context(), w, request, err)
		return
	}
	for _, scope := range request.GetRequestedScopes() {
		request.GrantScope(scope)
	}
	response, err := s.provider.NewAccessResponse(r.Context(), request)
	if err != nil {
		s.provider.WriteAccessError(r.Context(), w, request, err)
		return
	}
	s.provider.WriteAccessResponse(r.Context(), w, request, response)
}

// refused notes why a token request is refused. The caller holds mu.
func (s *fositeServer) refused(r *http.Request, err error) {
	id, _, ok := r.BasicAuth()
	if !ok {
		id = r.Form.Get("client_id")
	}
	if grant, err := jwt.ParseSigned(r.Form.Get("assertion")); err == nil {
		var claims jwt.Claims
		_ = grant.UnsafeClaimsWithoutVerification(&claims)
		id = claims.Issuer
	}
	s.refusals[id] = fosite.ErrorToRFC6749Error(err).GetDescription()
}

// whose asks the server whether a token is good, and returns its subject, or the client if
// it has none, or nothing if the token is not good.
func (s *fositeServer) whose(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, request, err := s.provider.IntrospectToken(context.Background(), token, fosite.AccessToken, &fosite.DefaultSession{})
	switch {
	case err != nil:
		return ""
	case request.GetSession().GetSubject() != "":
		return request.GetSession().GetSubject()
	}
	return request.GetClient().GetID()
}

// publicKeys returns the JWK Set that the program prints for a private key.
func publicKeys(t *testing.T, set settings) (keys jose.JSONWebKeySet) {
	t.Helper()
	text := jwks(t, api{"any", with(set, settings{"CLIENT_ID": "any", "TOKEN_URL": "http://127.0.0.1:9/"})})
	if err := json.Unmarshal([]byte(text), &keys); err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestFositeTakesEachProofAndRefusesFalseOnes holds that Fosite takes what the program sends, with the
// public keys as the program prints and serves them, and which problem document there is
// when it refuses.
func TestFositeTakesEachProofAndRefusesFalseOnes(t *testing.T) {
	t.Parallel()
	server := startFosite(t)
	basic := settings{"CLIENT_SECRET": oddSecret}
	keyRS := settings{"AUTH": "private_key_jwt", "PRIVATE_KEY": rsaPEM(t), "KEY_ID": "registered"}
	keyES := settings{"AUTH": "private_key_jwt", "PRIVATE_KEY": sec1(t, ecKey(t, elliptic.P256())), "KEY_ID": "thumbprint"}
	grant := settings{"GRANT": "jwt_bearer", "PRIVATE_KEY": keyES["PRIVATE_KEY"], "KEY_ID": "thumbprint"}
	perSubject := with(grant, settings{"SUBJECT": "required claim:sub"})
	const refused, notAllowed = "credential_refused", "scope_not_allowed"
	rows := []struct {
		name, method string
		set          settings
		subject      string
		want         answer
		because      string
	}{
		{"basic", "client_secret_basic", with(basic, settings{"SCOPE": "read"}), "", answer{200, "basic", ""}, ""},
		{"post", "client_secret_post", with(basic, settings{"AUTH": "post"}), "", answer{200, "post", ""}, ""},
		{"rs256", "private_key_jwt", keyRS, "", answer{200, "rs256", ""}, ""},
		{"es256", "private_key_jwt", keyES, "", answer{200, "es256", ""}, ""},
		{"bearer", "", with(grant, settings{"CLAIMS": `{"sub":"robot"}`}), "", answer{200, "robot", ""}, ""},
		{"bearer-subject", "", perSubject, "alice", answer{200, "alice", ""}, ""},

		{"bad-secret", "client_secret_basic", settings{"CLIENT_SECRET": "another"}, "", answer{502, "", refused}, "failed"},
		{"bad-scope", "client_secret_basic", with(basic, settings{"SCOPE": "write"}), "", answer{403, "", notAllowed}, "scope"},
		{"bad-aud", "private_key_jwt", with(keyRS, settings{"AUDIENCE": "https://another.example/"}), "", answer{502, "", refused}, "audience"},
		{"bad-key", "private_key_jwt", with(keyRS, settings{"PRIVATE_KEY": rsaPEM(t), "KEY_ID": "replaced"}), "", answer{502, "", refused}, "integrity"},
		// Of a key id that it does not know Fosite says invalid_request, as of a wrong parameter.
		{"bad-kid", "private_key_jwt", with(keyRS, settings{"KEY_ID": "another"}), "", answer{403, "", notAllowed}, "kid 'another'"},
		{"bad-bearer", "", with(grant, settings{"CLAIMS": `{"sub":"stranger"}`}), "", answer{502, "", refused}, "No public JWK"},
		{"bad-subject", "", perSubject, "mallory", answer{403, "", "subject_refused"}, "No public JWK"},
	}
	setRS, setES := publicKeys(t, keyRS), publicKeys(t, keyES)
	published := freeAddress(t)
	var apis []api
	for _, row := range rows {
		apis = append(apis, api{row.name, with(row.set, settings{"CLIENT_ID": row.name, "TOKEN_URL": server.url})})
		switch {
		case row.name == "es256":
			server.add(t, row.name, row.method, "ES256", "http://"+published+"/.well-known/jwks.json", nil)
		case row.name == "bad-key": // the server has another one under the id
			other := jose.JSONWebKeySet{Keys: slices.Clone(setRS.Keys)}
			other.Keys[0].KeyID = "replaced"
			server.add(t, row.name, row.method, "RS256", "", &other)
		case row.method != "":
			server.add(t, row.name, row.method, "RS256", "", &setRS)
		case row.name == "bearer":
			server.trust(row.name, "robot", setES)
		default:
			server.trust(row.name, "alice", setES)
		}
	}
	sidecar := startSidecar(t, startTarget(t, server.whose), apis, "SIDECAR_JWKS_LISTEN="+published)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var header []string
			if row.subject != "" {
				header = []string{"X-Token-Subject", row.subject}
			}
			got := sidecar.get(t, "/"+row.name+"/", header...)
			if got.code != "" {
				got.body = ""
			}
			if got != row.want {
				t.Errorf("the answer is %+v, want %+v", got, row.want)
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if why := server.refusals[row.name]; (why == "") != (row.because == "") || !strings.Contains(why, row.because) {
				t.Errorf("the server refused for %q, want %q", why, row.because)
			}
		})
	}
}
