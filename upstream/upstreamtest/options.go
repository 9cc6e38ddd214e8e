package upstreamtest

import "time"

// Options shape a simulated provider. The zero value is a provider that knows
// every subject. Predicates are called for each request, from many goroutines
// at once, so a test may change what they say at run time, behind its own lock.
type Options struct {
	// Lifetime of tokens. Fractions of a second are dropped, since expires_in
	// counts whole seconds. Less than a second: 30 s.
	Lifetime time.Duration
	// ClientID and ClientSecret replace the made-up credential. Empty: made up.
	// MyDataHelps: ClientID is the service account, ClientSecret is not used.
	ClientID, ClientSecret string
	// Scopes that the client may ask for. Nil: those of the provider's
	// documentation.
	Scopes []string
	// KeepExpired makes the server remember tokens after their end, so that Issued
	// tells an expired token from one that never was.
	KeepExpired bool
	// LogSize is how many token requests TokenRequestLog keeps. Zero: 1024.
	LogSize int

	// ConnectionNID and ConnectionToken are the Dedicated Connection of PDX, for which it
	// gives short access tokens and takes First Time Connections. Empty: it has none.
	ConnectionNID, ConnectionToken string
	// ShortTokenObject makes PDX give short access tokens as {"token":...}, not as a string.
	ShortTokenObject bool

	// KnowsParticipant says whether MyDataHelps has the participant. Nil: all.
	KnowsParticipant func(id string) bool
	// HourlyLimit is the number of MyDataHelps API requests per hour, for the
	// service account and for each participant, before 429. Zero: never 429,
	// and the RateLimit headers count down from 1000 and 500.
	HourlyLimit int

	// InstitutionOnKey says whether the WSKey of OCLC is good for the
	// institution with this registry id. Nil: for all.
	InstitutionOnKey func(registryID string) bool
	// FormBody makes OCLC take the parameters in a form body, not in the query.
	FormBody bool
	// ExpiresInString makes OCLC send expires_in as a JSON string.
	ExpiresInString bool
	// GrantOnly makes OCLC grant no other scopes than these, silently. Nil: all asked for.
	GrantOnly []string
	// LegacyHMAC makes OCLC serve the signed requests of its older token
	// endpoint and nothing else; FormBody then has no effect.
	LegacyHMAC bool

	// HIP gives Human API's client the contract of the Health Intelligence Platform.
	HIP bool
	// NoClientTokens makes Human API refuse HIP client tokens.
	NoClientTokens bool
	// KnowsClient says whether Human API takes this credential too, beside that of
	// ClientID and ClientSecret. Nil: no other. Grant tells which one a token is for.
	KnowsClient func(id, secret string) bool
	// NewToken makes the access and refresh tokens of Human API's users, so that a
	// test can recognize them. Nil: made up.
	NewToken func() string
	// KnowsUser says whether Human API has ever seen the client_user_id. Nil: all.
	KnowsUser func(id string) bool
	// ConnectedUser says whether a known user of Human API has connected a
	// source and is not deleted. Nil: all.
	ConnectedUser func(id string) bool
}

// allows reports what predicate says of id; a nil predicate allows all.
func allows(predicate func(string) bool, id string) bool {
	return predicate == nil || predicate(id)
}
