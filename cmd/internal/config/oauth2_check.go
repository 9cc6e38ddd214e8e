package config

import (
	"net/url"
	"slices"
	"strings"

	"token-sidecar/upstream"
)

// oauth2Check is the settings of one generic upstream on their way through the checks of
// what they mean together.
type oauth2Check struct {
	*OAuth2
	*faults
	section string
}

// finish implements provider.
func (c *OAuth2) finish(f *faults, section string) {
	check := oauth2Check{c, f, section}
	for _, name := range []string{"NAME", "TARGET"} {
		check.need(name, true, "")
	}
	check.endpoint()
	check.credentials()
	check.key()
	check.clientCertificate()
	if check.signs() {
		fillAudience(&c.Audience, c.TokenURL)
	}
	check.assertion()
	check.request()
	check.subject()
	check.exchange()
}

// has reports whether a setting was given, rightly or wrongly.
func (c oauth2Check) has(name string) bool { return c.given[c.section+name] != "" }

// need faults a setting that is missing where it is needed.
func (c oauth2Check) need(name string, needed bool, why string) {
	if needed && !c.has(name) {
		if why == "" {
			why = "other settings of this number are"
		}
		c.missing(c.section+name, "is not set, but "+why)
	}
}

// unwanted faults a setting that is there and has no meaning.
func (c oauth2Check) unwanted(name string, meaningless bool, why string) {
	if meaningless && c.has(name) {
		c.fault(c.section+name, flawf("remove it", "is set, but %s", strings.ReplaceAll(why, "{X}", c.section)))
	}
}

// wrong faults a setting that is there.
func (c oauth2Check) wrong(name string, wrong bool, mend, problem string) {
	if wrong && c.has(name) && !c.faulty[c.section+name] {
		c.fault(c.section+name, flawf(strings.ReplaceAll(mend, "{X}", c.section), "%s", strings.ReplaceAll(problem, "{X}", c.section)))
	}
}

// signs reports whether token requests have an assertion that is signed here.
func (c oauth2Check) signs() bool {
	return c.Grant == upstream.GrantJWTBearer || c.Auth == upstream.AuthPrivateKeyJWT || c.Auth == upstream.AuthClientSecretJWT
}

// signsWithSecret reports whether it is signed with the client secret.
func (c oauth2Check) signsWithSecret() bool {
	return c.Auth == upstream.AuthClientSecretJWT || c.Grant == upstream.GrantJWTBearer && strings.HasPrefix(c.Alg, "HS")
}

// endpoint checks where the token endpoint is.
func (c oauth2Check) endpoint() {
	if !c.has("TOKEN_URL") && !c.has("ISSUER") {
		c.missing(c.section+"TOKEN_URL", "is not set, nor is "+c.section+"ISSUER, but other settings of this number are")
	}
	c.wrong("ISSUER", c.has("TOKEN_URL"), "remove one of them", "is set and {X}TOKEN_URL too")
	c.unwanted("TOKEN_HOSTS", !c.has("ISSUER"), "{X}ISSUER is not")
}

// credentials checks that the client has what it proves itself with, and nothing else.
func (c oauth2Check) credentials() {
	auth := c.section + "AUTH is " + c.Auth
	if c.faulty[c.section+"AUTH"] || c.faulty[c.section+"GRANT"] {
		return
	}
	bearer := c.Grant == upstream.GrantJWTBearer
	byID := bearer || !slices.Contains([]string{upstream.AuthAssertionFile, upstream.AuthNone}, c.Auth)
	c.need("CLIENT_ID", byID, "")
	c.unwanted("CLIENT_ID", !byID && c.Auth == upstream.AuthNone, auth+"; if the provider wants a client_id, put it into {X}PARAMS")
	bySecret := c.Auth == upstream.AuthBasic || c.Auth == upstream.AuthPost || c.signsWithSecret()
	c.need("CLIENT_SECRET", bySecret, auth)
	c.wrong("CLIENT_SECRET", !bySecret, "remove it or choose another {X}AUTH", "is set, but "+auth)
	byKey := c.signs() && !c.signsWithSecret()
	c.need("PRIVATE_KEY", byKey, "")
	c.wrong("PRIVATE_KEY", !byKey, "remove it or choose another {X}AUTH", "is set, but "+auth)
	c.need("ASSERTION", c.Auth == upstream.AuthAssertionFile, auth)
	c.wrong("AUTH", bearer && (c.Auth == upstream.AuthPrivateKeyJWT || c.Auth == upstream.AuthClientSecretJWT || c.Auth == upstream.AuthAssertionFile),
		"remove it: the assertion is the grant", "is for a client that proves itself, but {X}GRANT is jwt_bearer")
}

// key checks the key that assertions are signed with, beside algorithm, id and certificate.
func (c oauth2Check) key() {
	withoutKey := !c.has("PRIVATE_KEY")
	for _, name := range []string{"NEXT_KEY", "KEY_ID", "CERT_HEADER"} {
		c.unwanted(name, withoutKey, "{X}PRIVATE_KEY is not")
	}
	c.unwanted("ALG", !c.signs(), "no assertion is signed")
	named := c.CertHeader != "" && c.CertHeader != upstream.CertHeaderNone
	c.need("CERT", named, c.section+"CERT_HEADER is")
	c.unwanted("CERT", !named && !c.presents(), "{X}CERT_HEADER does not name it, nor is {X}CERT_KEY set")
	if c.signsWithSecret() && c.ClientSecret.IsSet() {
		alg := c.Alg
		if alg == "" {
			alg = "HS256"
		}
		if _, err := upstream.NewSecretKey(c.ClientSecret.Reveal(), alg); err != nil {
			where := "CLIENT_SECRET"
			if c.has("ALG") {
				where = "ALG"
			}
			c.fault(c.section+where, flawf("choose an algorithm that fits", "does not fit: %s", err))
		}
	}
	if !c.PrivateKey.IsSet() || c.faulty[c.section+"ALG"] {
		return
	}
	key, err := upstream.NewSigningKey(c.PrivateKey.Reveal(), c.Alg, c.KeyID)
	if err != nil {
		c.fault(c.section+"ALG", flawf("choose one that fits the key, or remove it", "is not for this key: %s", err))
		return
	}
	c.nextKey(key)
	if chain, err := upstream.ParseCertificates(c.Cert.Reveal()); err == nil {
		c.wrong("CERT", named && !key.Matches(chain[0]), "give the certificate of {X}PRIVATE_KEY, before those of its issuers", "does not begin with the certificate of {X}PRIVATE_KEY")
	}
}

// presents reports whether there should be a client certificate.
func (c oauth2Check) presents() bool { return c.has("CERT_KEY") || c.Auth == upstream.AuthTLS }

// clientCertificate checks the client certificate, and that there is TLS to present it in.
func (c oauth2Check) clientCertificate() {
	if !c.presents() {
		return
	}
	why := "{X}CERT_KEY is"
	if c.Auth == upstream.AuthTLS {
		why = "{X}AUTH is tls"
	}
	why = strings.ReplaceAll(why, "{X}", c.section)
	if c.CertHeader == "" || c.CertHeader == upstream.CertHeaderNone { // else key() has asked for it
		c.need("CERT", true, why)
	}
	c.need("CERT_KEY", true, why)
	if c.Cert.IsSet() && c.CertKey.IsSet() {
		_, err := upstream.ParseClientCertificate(c.Cert.Reveal(), c.CertKey.Reveal())
		c.wrong("CERT_KEY", err != nil, "give the private key of the first certificate in {X}CERT", "is not the key of {X}CERT")
	}
	const mend, problem = "use https://", "is http://, where no client certificate is presented"
	for i, u := range []*url.URL{c.TokenURL, c.Issuer, c.Target} {
		c.wrong([]string{"TOKEN_URL", "ISSUER", "TARGET"}[i], u != nil && u.Scheme == "http", mend, problem)
	}
	for _, u := range c.Targets {
		c.wrong("TARGETS", u != nil && u.Scheme == "http", mend, "has an "+problem[len("is "):])
	}
}

// nextKey checks the next key against the one in use: servers tell them apart by their ids.
func (c oauth2Check) nextKey(key upstream.SigningKey) {
	if !c.NextKey.IsSet() {
		return
	}
	next, err := upstream.NewSigningKey(c.NextKey.Reveal(), c.Alg, c.KeyID)
	c.wrong("NEXT_KEY", err != nil, "give a key of the same kind, or remove {X}ALG", "cannot be used with {X}ALG")
	c.wrong("NEXT_KEY", err == nil && (key.ID() == "" || key.ID() == next.ID()),
		"set {X}KEY_ID=thumbprint, or give both keys as JWKs with a kid", "has no key id of its own")
}

// assertion checks what assertions say.
func (c oauth2Check) assertion() {
	for _, name := range []string{"AUDIENCE", "CLAIMS"} {
		c.unwanted(name, !c.signs(), "no assertion is signed")
	}
	c.wrong("SCOPE_IN", c.ScopeIn == upstream.ScopeInAssertion && !c.signs(), "remove it", "is assertion, but no assertion is signed")
	claims, err := upstream.ParseClaims(c.Claims.Reveal())
	_, hasSub := claims["sub"]
	c.wrong("CLAIMS", err == nil && hasSub && c.Grant != upstream.GrantJWTBearer, "remove it", "sets sub, which is the client unless {X}GRANT is jwt_bearer")
	_, twice := claims[c.Subject.Claim]
	c.wrong("CLAIMS", err == nil && twice, "set it in one place", "sets the claim of {X}SUBJECT")
}

// request checks where parameters are sent.
func (c oauth2Check) request() {
	const urn = "urn:ietf:params:oauth:grant-type:"
	c.wrong("GRANT", c.Grant == urn+"jwt-bearer", "write jwt_bearer, for which an assertion is signed", "is sent without an assertion")
	c.wrong("GRANT", c.Grant == urn+"token-exchange" && !c.has("PARAMS"),
		"write token_exchange, for the token of the app's user, or put the one of a file into {X}PARAMS", "is sent without a subject_token")
	divided := c.ScopeSeparator != "" && strings.Contains(c.Scope+c.AllowedScopes, c.ScopeSeparator)
	c.wrong("SCOPE_SEPARATOR", divided, "choose another", "is within a scope, which would be read as two")
	c.wrong("BODY", c.Method == "get" && (c.Body == upstream.BodyForm || c.Body == upstream.BodyJSON),
		"choose query or none, or remove {X}METHOD=get", "is a body, but a GET has none")
	inBody := c.signs() || c.Auth == upstream.AuthPost || c.Auth == upstream.AuthAssertionFile || c.Auth == upstream.AuthTLS
	c.wrong("BODY", c.Body == upstream.BodyNone && inBody, "choose form, json or query", "is none, but the proof of the client is a parameter")
	for _, name := range []string{"PARAMS", "SCOPE", "ALLOWED_SCOPES", "GRANT"} {
		c.unwanted(name, c.Body == upstream.BodyNone, "{X}BODY is none")
	}
	params, _ := url.ParseQuery(c.Params.Reveal())
	byPerson := c.Auth == upstream.AuthNone || c.Auth == upstream.AuthBasic
	c.wrong("PARAMS", params.Has("client_id") && !byPerson, "remove it", "sets client_id, which {X}CLIENT_ID does")
	fields, _ := upstream.ParseFields(c.Headers.Reveal())
	sets := slices.ContainsFunc(fields, func(f upstream.Field) bool { return strings.EqualFold(f.Name, "Content-Type") })
	c.wrong("HEADERS", sets, "remove it", "sets Content-Type, which {X}BODY does")
}

// exchange checks what has no place, or no meaning, where the tokens of users are exchanged.
func (c oauth2Check) exchange() {
	if c.Grant != upstream.GrantTokenExchange {
		return
	}
	inURL := c.Method == "get" || c.Body == upstream.BodyQuery || c.Body == upstream.BodyNone
	c.wrong("GRANT", inURL, "remove {X}METHOD, and choose form or json for {X}BODY", "is token_exchange, but the user's token may be sent in a body only")
	c.unwanted("SUBJECT", true, "{X}GRANT is token_exchange: the subject is the user whose token the app sends")
	params, _ := url.ParseQuery(c.Params.Reveal())
	own := params.Has("subject_token") || params.Has("subject_token_type")
	c.wrong("PARAMS", own, "remove it", "sets subject_token or subject_token_type, which {X}GRANT=token_exchange does")
}

// subject checks where the subject is sent.
func (c oauth2Check) subject() {
	const mend = "choose another place"
	place := c.Subject
	c.wrong("SUBJECT", place.Claim != "" && !c.signs(), mend, "is a claim, but no assertion is signed")
	c.wrong("SUBJECT", slices.Contains(upstream.ReservedClaims, place.Claim), mend, "is a claim that has another meaning")
	c.wrong("SUBJECT", place.Claim == "sub" && c.Grant != upstream.GrantJWTBearer, mend, "is the claim sub, which is the client unless {X}GRANT is jwt_bearer")
	c.wrong("SUBJECT", place.Param != "" && c.Body == upstream.BodyNone, mend, "is a parameter, but {X}BODY is none")
	c.wrong("SUBJECT", place.Param == "client_id" || slices.Contains(upstream.ReservedParams, place.Param), mend, "is a parameter that has another meaning")
	params, _ := url.ParseQuery(c.Params.Reveal())
	c.wrong("SUBJECT", place.Param != "" && params.Has(place.Param), "set it in one place", "is a parameter that {X}PARAMS sets")
}
