package check

import (
	"slices"
	"strings"

	"token-sidecar/upstream"
)

// rule is one thing that may be wrong. Empty fields match everything.
type rule struct {
	family string // of config.TokenEndpoint
	kind   upstream.Kind
	codes  string // space-separated
	when   func(failure) bool
	cause  string // with the placeholders of fill
	mend   string // as well
}

// matches reports whether the rule speaks of such a failure.
func (r rule) matches(f failure) bool {
	return (r.family == "" || r.family == f.endpoint.Family) &&
		(r.kind == "" || r.kind == f.kind) &&
		(r.codes == "" || slices.Contains(strings.Fields(r.codes), f.code())) &&
		(r.when == nil || r.when(f))
}

// rules are the known causes of failed token requests by class of failure. The
// first that matches is taken: special ones stand before general ones.
var rules = map[upstream.Class][]rule{
	upstream.ClassCredential:  credentialRules,
	upstream.ClassScope:       scopeRules,
	upstream.ClassSubject:     subjectRules,
	upstream.ClassThrottled:   throttledRules,
	upstream.ClassUnavailable: unavailableRules,
	upstream.ClassMalformed:   malformedRules,
}

var credentialRules = []rule{
	{when: clockOff,
		cause: "clock skew: {skew}, and the proof of the client carries a time",
		mend:  "set this machine's clock by NTP before you change any {X}* setting; if it is right, the provider's is wrong"},
	{when: audienceDiffers,
		cause: "wrong audience: {X}AUDIENCE differs from the token URL that the assertion is sent to",
		mend:  "remove {X}AUDIENCE, which then follows {url}, unless the provider told you this very value"},
	{family: "oclc", when: hmacAuth,
		cause: "wrong WSKey or secret, or the signature is made for another institution",
		mend:  "check {X}WSKEY, {X}SECRET and {X}INSTITUTION; keys made for oauth.oclc.org need {X}AUTH=basic"},
	{family: "oclc",
		cause: "wrong WSKey or secret: OCLC finds no valid credential in the request",
		mend:  "check {X}WSKEY and {X}SECRET, whole and with the = signs at its end, on the key's page at the OCLC Developer Network"},
	{family: "humanapi", codes: "INVALID_CLIENT_ID",
		cause: "wrong client id: Human API does not know it",
		mend:  "check {X}CLIENT_ID in the Human API developer portal"},
	{family: "humanapi",
		cause: "wrong client id or secret",
		mend:  "check {X}CLIENT_SECRET and {X}CLIENT_ID: both must be of the same client in the Human API developer portal"},
	{when: noAnswer,
		cause: "the private key cannot be used: {reason}",
		mend:  "put the right key into {X}PRIVATE_KEY"},
	{when: unproven,
		cause: "the credential is refused: it is among {X}PARAMS and {X}HEADERS, as {X}AUTH is none",
		mend:  "check the id and secret in {X}PARAMS and {X}HEADERS, or choose another {X}AUTH"},
	{when: byCertificate, codes: "invalid_client",
		cause: "the provider has another certificate for this client, or does not know it by one",
		mend:  "compare {X}CERT, by its subject or, if it is self-signed, byte for byte, and {X}CLIENT_ID with what is registered at the provider"},
	{when: noCode,
		cause: "refused with {status} and no known error code: the credential is wrong, or a proxy or gateway before the token endpoint answers",
		mend:  "check {credential}, and that {url} is the provider's token endpoint"},
	{family: "mydatahelps",
		cause: "wrong key or service account: the assertion is not signed with a key that the provider has for this account",
		mend:  "compare {X}SERVICE_ACCOUNT and {X}PRIVATE_KEY with the service account in MyDataHelps Designer; they must belong together and to the host {host}"},
	{when: byFile,
		cause: "the assertion of {X}ASSERTION_FILE is refused: the provider does not trust its issuer, or not for its subject or audience",
		mend:  "compare iss, sub and aud of the assertion with what is registered at the provider, then {X}ASSERTION_TYPE and {X}CLIENT_ID"},
	{when: bearer,
		cause: "the assertion that is the grant is refused: wrong key, key id, algorithm, iss, sub or aud",
		mend:  "compare {credential}, {X}KEY_ID and {X}ALG with what is registered at the provider, {X}AUDIENCE with the aud that it wants, and the sub of {X}CLAIMS or {X}SUBJECT"},
	{when: unnamedKey,
		cause: "wrong key or client id: the assertion is not signed with a key that the provider has for this client, or its header lacks the key id (kid) by which many providers look the key up",
		mend:  "set {X}KEY_ID to the id under which {X}PRIVATE_KEY is registered, or to thumbprint if the provider fetches the JWK Set; compare {X}CLIENT_ID; if all is right, ask which {X}ALG and {X}AUDIENCE it wants"},
	{when: signed,
		cause: "wrong key or client id: the assertion is not signed with a key that the provider has for this client under this key id",
		mend:  "compare {credential} and {X}KEY_ID with what is registered at the provider; if all is right, ask which aud it wants ({X}AUDIENCE) and which algorithm ({X}ALG)"},
	{when: encoded("form"),
		cause: "wrong client id or secret, or the provider takes them in Basic as they are: they hold reserved characters, which form-encoding changes",
		mend:  "check {X}CLIENT_ID and {X}CLIENT_SECRET; if both are right, set {X}BASIC_ENCODING=plain"},
	{when: encoded("plain"),
		cause: "wrong client id or secret, or the provider wants them form-encoded in Basic: they hold reserved characters, and {X}BASIC_ENCODING is plain",
		mend:  "remove {X}BASIC_ENCODING=plain; if that is of no use, check {X}CLIENT_ID and {X}CLIENT_SECRET"},
	{family: "pdx",
		cause: "wrong client id or secret, or they are not of the {environment} environment",
		mend:  "check {X}CLIENT_ID and {X}CLIENT_SECRET, and that {X}ENVIRONMENT is the one they were issued for"},
	{
		cause: "wrong client id or secret, or the provider wants them sent in another way than {auth}",
		mend:  "check {X}CLIENT_ID and {X}CLIENT_SECRET; if both are right, try another {X}AUTH"},
}

var scopeRules = []rule{
	{when: narrow,
		cause: "narrow scope: the provider granted less than was asked for, and {X}NARROW_SCOPE is refuse",
		mend:  "have the provider give the client all of {X}SCOPE, ask for less there, or set {X}NARROW_SCOPE=serve"},
	unsureRule,
	{family: "mydatahelps", kind: upstream.KindParticipant, when: invalidClient,
		cause: "wrong delegated client: the service account is good, but the client of participant tokens is refused",
		mend:  "remove {X}DELEGATED_CLIENT_ID and {X}DELEGATED_CLIENT_SECRET, whose defaults are published, or ask MyDataHelps which are in use"},
	{family: "mydatahelps", kind: upstream.KindParticipant, codes: "invalid_scope",
		cause: "scope not given: MyDataHelps grants no participant token with this scope",
		mend:  "correct {X}SCOPE"},
	{family: "mydatahelps", codes: "invalid_scope",
		cause: "scope not given: the service account may not use the scope api",
		mend:  "have MyDataHelps enable the service account of {X}SERVICE_ACCOUNT for the API"},
	{family: "humanapi", codes: "CLIENT_TOKEN_GENERATION_NOT_ALLOWED",
		cause: "token generation not enabled: Human API must enable client tokens for this client, or its contract is not HIP",
		mend:  "ask Human API to enable client tokens; if the contract is connect, remove {X}HIP"},
	{family: "humanapi", when: hip,
		cause: "HIP and connect mixed up: {X}HIP is true, and the client may not use that token endpoint",
		mend:  "remove {X}HIP if the contract is connect; if it is HIP, ask Human API to enable it for this client, and check {url}"},
	{family: "humanapi", codes: "NOT_AUTHORIZED INVALID_TOKEN_TYPE",
		cause: "HIP and connect mixed up: {X}HIP is false, and the client may not use the token endpoint of connect",
		mend:  "set {X}HIP=true if the contract is HIP; else ask Human API to enable connect for this client, and check {url}"},
	{family: "oclc", when: forbidden,
		cause: "scope not on the key: the WSKey lacks a service of {X}SCOPE",
		mend:  "correct {X}SCOPE, or request the service for the WSKey at the OCLC Developer Network"},
	{when: forbidden,
		cause: "refused with status 403 and no known error code: most likely by a firewall, a proxy or a list of allowed addresses before the token endpoint",
		mend:  "check {url}, and whether the provider must allow this machine's address"},
	{family: "pdx", codes: "invalid_scope",
		cause: "scope not given: Mydex has not given the client a scope of {X}SCOPE",
		mend:  "correct {X}SCOPE, or have Mydex add the scope to the client"},
	{codes: "invalid_scope",
		cause: "scope not given: the provider does not know a scope of {X}SCOPE or has not given it to the client",
		mend:  "correct {X}SCOPE, or have the provider add the scope to the client"},
	{family: "mydatahelps", kind: upstream.KindParticipant, codes: "unauthorized_client unsupported_grant_type access_denied",
		cause: "delegation not enabled: the provider does not issue participant tokens to this service account",
		mend:  "ask MyDataHelps to enable participant tokens for the account of {X}SERVICE_ACCOUNT"},
	{family: "oauth2", codes: "unauthorized_client unsupported_grant_type invalid_grant access_denied",
		cause: "grant not enabled: the client may not get tokens by this grant, or the provider wants another one",
		mend:  "have the provider enable the grant of {X}GRANT for the client, or correct {X}GRANT, and check that {url} is its token endpoint"},
	{codes: "unauthorized_client unsupported_grant_type invalid_grant access_denied",
		cause: "grant not enabled: the client may not get tokens by the client credentials grant",
		mend:  "have the provider enable that grant for the client, and check that {url} is its token endpoint"},
	{codes: "invalid_request", when: signedWithKey,
		cause: "the token endpoint refuses the form of the request, as some do when they do not know the key id (kid) of the assertion, or want another client authentication than {auth}, a scope, or a further parameter such as audience or resource",
		mend:  "check {X}KEY_ID and {X}AUTH, then {X}SCOPE, {X}PARAMS and {X}BODY, and that {url} is the provider's token endpoint"},
	{family: "oauth2", codes: "invalid_request invalid_target",
		cause: "the token endpoint refuses the form of the request, as when it wants another client authentication than {auth}, a scope, or a further parameter such as audience or resource",
		mend:  "check {X}AUTH, {X}SCOPE, {X}PARAMS and {X}BODY, and that {url} is the provider's token endpoint"},
	{
		cause: "the token endpoint refuses the form of the request",
		mend:  "check that {url} is the provider's token endpoint"},
}

// unsureRule stands before the others of its class: what they say would be no more
// than half of what may be wrong.
var unsureRule = rule{when: unsure,
	cause: "refused with {status}, which may be meant for the credential as well as for {subject}",
	mend:  "check {credential}, then the id; if another id is refused in the same way, it is the credential"}

var subjectRules = []rule{
	{when: bearer, codes: "invalid_grant",
		cause: "the assertion that is the grant is refused: the client may not act for the subject given with --subject, or its key, key id, algorithm, iss or aud is wrong",
		mend:  "check the id; if another id is refused in the same way, compare {credential}, {X}KEY_ID, {X}ALG and {X}AUDIENCE with what is registered at the provider"},
	unsureRule,
	{family: "mydatahelps", codes: "invalid_grant",
		cause: "participant unknown: the service account has no participant with the id given with --subject",
		mend:  "check the id, and that the participant's project is one that the account of {X}SERVICE_ACCOUNT may use"},
	{family: "humanapi", codes: "UNKNOWN_CLIENT_USER_ID",
		cause: "user unknown: Human API has never seen the client_user_id given with --subject from this client",
		mend:  "check the id, and that {X}CLIENT_ID is the client with which the user connected"},
	{family: "humanapi", codes: "ACCESS_TOKEN_GENERATION_NOT_ALLOWED",
		cause: "user not connected: the user given with --subject has connected no data source, or is deleted",
		mend:  "have the user connect a source; nothing is wrong with {X}CLIENT_ID and {X}CLIENT_SECRET"},
	{family: "oclc",
		cause: "institution not on the key: the WSKey may not work for {institution}",
		mend:  "correct the registry id, or have OCLC add the institution to the key of {X}WSKEY"},
	{when: forbidden,
		cause: "refused with status 403 and no known error code: the subject given with --subject is not allowed, or a firewall or proxy before the token endpoint refuses",
		mend:  "check the id, then {url} and whether the provider must allow this machine's address"},
	{
		cause: "no token is issued for the subject given with --subject",
		mend:  "check the id, and that it belongs to the credential of {X}*"},
}

var throttledRules = []rule{{
	cause: "rate limited: the provider counts too many token requests",
	mend:  "wait {wait} and run check again; if it happens while serving, share one Redis among replicas (SIDECAR_REDIS_URL) or lower SIDECAR_TOKEN_RATE"},
}

// connectionRules are the known causes of failures of a connection, by the words of RFC
// 9209 section 2.3. They hold for token endpoints and for Redis; {url} and {roots} name
// the settings.
var connectionRules = []rule{
	{codes: "dns_error",
		cause: "the name of {host} does not resolve",
		mend:  "correct {url}, or the name servers of this machine or pod"},
	{codes: "dns_timeout",
		cause: "no name server answers for {host}",
		mend:  "correct the name servers of this machine or pod, or allow DNS through its network policy; {url} was not reached"},
	{codes: "connection_refused",
		cause: "{host} refuses the connection: nothing listens there, or a firewall rejects it",
		mend:  "check host and port of {url}, and that this machine may connect to them"},
	{codes: "connection_timeout destination_ip_unroutable",
		cause: "{host} cannot be reached: there is no route, or a firewall drops the connection",
		mend:  "allow connections to {host}, or correct {url}; if only an HTTP proxy leads there, set SIDECAR_EGRESS_PROXY"},
	{codes: "http_response_timeout",
		cause: "timeout: {host} gave no whole answer within {timeout}",
		mend:  "run check again; if the provider is merely slow, raise SIDECAR_TOKEN_TIMEOUT, else check {url}"},
	{codes: "connection_terminated",
		cause: "{host} ended the connection without a whole answer, as a firewall or proxy in between may",
		mend:  "check scheme, host and port of {url}, and what stands between this machine and them"},
	{codes: "tls_certificate_error",
		cause: "the TLS certificate of {host} is not trusted: it is of a private authority or of a proxy that opens TLS, has expired, or names another host",
		mend:  "if you know the authority, put its PEM file into {roots}; else correct the host in {url}"},
	{codes: "tls_alert_received",
		cause: "{host} refuses the TLS handshake: it wants another version than 1.2 or 1.3, or a client certificate",
		mend:  "check host and port of {url}"},
	{codes: "tls_protocol_error http_protocol_error",
		cause: "{host} does not speak what the URL says, as when https:// names a port of plain HTTP, or rediss:// one without TLS",
		mend:  "check scheme and port of {url}"},
}

// egressRules are about the proxy of SIDECAR_EGRESS_PROXY.
var egressRules = []rule{
	{codes: "egress_proxy_answered_407",
		cause: "the egress proxy answered 407: it wants a user and a password, or other ones, before it connects to {host}",
		mend:  "set SIDECAR_EGRESS_PROXY_AUTH or SIDECAR_EGRESS_PROXY_AUTH_FILE to user:password of the proxy that SIDECAR_EGRESS_PROXY names, or correct it"},
	{codes: "egress_proxy_answered_401",
		cause: "the egress proxy answered 401: it refuses the user and password that it was given, and does not connect to {host}",
		mend:  "correct SIDECAR_EGRESS_PROXY_AUTH, or the file of SIDECAR_EGRESS_PROXY_AUTH_FILE"},
	{codes: "egress_proxy_unreachable",
		cause: "no connection through the egress proxy to {host}: the proxy cannot be reached, or does not answer as an HTTP proxy does",
		mend:  "check host and port of SIDECAR_EGRESS_PROXY; if {host} is to be reached without it, list that in SIDECAR_EGRESS_DIRECT"},
	{when: byEgressProxy,
		cause: "the egress proxy cannot or may not connect to {host}",
		mend:  "have the proxy of SIDECAR_EGRESS_PROXY allow CONNECT to {host}, or correct {url}; if it is to be reached without the proxy, list it in SIDECAR_EGRESS_DIRECT"},
}

var unavailableRules = slices.Concat([]rule{
	{when: presents, codes: "tls_alert_received",
		cause: "{host} refuses the client certificate: it is not registered, not trusted or has expired; or {host} wants another version of TLS than 1.2 or 1.3",
		mend:  "compare {X}CERT with what is registered at the provider, and put its issuers behind it; then check {url}"},
}, egressRules, connectionRules, []rule{
	{when: ofDiscovery,
		cause: "{reason}",
		mend:  "run check again later; if it stays, check {url}, or give {X}TOKEN_URL in its place"},
	{when: byFile,
		cause: "{reason}",
		mend:  "see to it that whoever writes {X}ASSERTION_FILE renews it before it expires"},
	{when: noAnswer,
		cause: "no answer: {reason}",
		mend:  "run check again; if it stays, check {url}"},
	{
		cause: "the token endpoint, or a proxy before it, fails with {status}",
		mend:  "run check again later; if it stays, tell the provider, or check {url}"},
})

var malformedRules = []rule{
	{when: ofDiscovery,
		cause: "{reason}",
		mend:  "check {url}, byte for byte as the provider names its issuer; if its token endpoint is on another host that you trust, list it in {X}TOKEN_HOSTS, or give {X}TOKEN_URL in place of {X}ISSUER"},
	{when: forbidden,
		cause: "refused with status 403 by what is no token endpoint: most likely a firewall, a proxy or a list of allowed addresses before it",
		mend:  "check {url}, and whether the provider must allow this machine's address"},
	{when: redirect,
		cause: "redirect: {host} answers with {status}, which is not followed, since it would carry the credential elsewhere",
		mend:  "put the address at which the token endpoint really is into {url}, with scheme, host and path as the provider documents them"},
	{when: notJSON,
		cause: "{host} answers with something that is not JSON, such as an HTML page: the URL is that of a website, or a proxy's own page answers",
		mend:  "correct {url}, or let this machine reach {host} without the proxy in between"},
	{when: good,
		cause: "the answer is not a usable token: {reason}",
		mend:  "check that {url} is the provider's token endpoint; if it is, tell the provider"},
	{family: "oauth2", when: statusIn(405),
		cause: "there is no token endpoint at this address, or it wants another method: it answers with {status}",
		mend:  "correct host and path of {url}, then {X}METHOD and {X}BODY"},
	{when: statusIn(404, 405, 410),
		cause: "there is no token endpoint at this address: it answers with {status}",
		mend:  "correct host and path of {url}"},
	{family: "oclc", when: statusIn(400, 411),
		cause: "OCLC refuses the form of the request, as when it wants the parameters in the other place",
		mend:  "check {url}, then {X}PARAMETERS (query or body)"},
	{family: "oauth2", when: statusIn(400, 406, 415, 422),
		cause: "{host} answers with {status} and no known error code: it wants another form of request, or it is no token endpoint",
		mend:  "check {url}, then {X}BODY, {X}METHOD, {X}PARAMS and {X}HEADERS"},
	{
		cause: "{host} answers with {status} and no known error code: it is no token endpoint, or a proxy in between answers, or it wants another form of request",
		mend:  "check {url} first"},
}
