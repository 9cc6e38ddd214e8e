// Package sidecar is the program behind cmd/token-sidecar and cmd/demo: its
// configuration, how its parts are put together, and its servers.
package sidecar

import (
	"net/url"
	"time"

	"token-sidecar/upstream"
)

// Config is the whole configuration of the program. The tags of its fields are
// the only list of settings there is: parsing, help text and the table of the
// README are made from them.
//
//	env, envDefault, envPrefix  as caarlos0/env reads them
//	help      what the setting means
//	shown     the default in words, where it depends on other settings
//	group     heading of this setting and those that follow
//	file      X_FILE may name a file: "rotates" while running, "start" only then
//	check     name of a rule in valueChecks
//	oneof     the values there are
//	above, min, max  range of a number, size or duration
//	needed    the section is on when all of these are set
//	only      the setting has a meaning only beside NAME=value of its section
//
// A Config from ParseConfig is complete and consistent. It is read-only, save
// that Secrets from files change their value while WatchSecrets runs.
type Config struct {
	Listen       Listener        `env:"LISTEN" envDefault:"127.0.0.1:8080" group:"Listeners" help:"Data listener: host:port, or unix:/path for a socket. Port 0 picks a free one. localhost means 127.0.0.1; no name is looked up to decide whether an address is loopback."`
	AdminListen  Listener        `env:"ADMIN_LISTEN" envDefault:"127.0.0.1:9090" help:"Admin listener: metrics, probes and a status page. A kubelet or Prometheus reaches it only on a non-loopback address, see EXPOSE."`
	Expose       string          `env:"EXPOSE" envDefault:"false" oneof:"false,admin,true" help:"Which listeners may be on non-loopback addresses: none (false), the admin listener alone (admin), all (true). Whoever reaches a data listener uses the credentials."`
	AllowedHosts []string        `env:"ALLOWED_HOSTS" check:"hosts" help:"Further Host names, without port, that the data and admin listeners accept beside the loopback names, comma-separated."`
	CallerToken  upstream.Secret `env:"CALLER_TOKEN" file:"rotates" check:"header" help:"If set, callers must send it in X-Sidecar-Token."`
	Vend         []string        `env:"VEND" help:"Routes whose tokens may be handed to the app itself by POST /token/{route}, comma-separated. Only routes that need a subject: mydatahelps.participant, humanapi."`

	RefreshAhead float64 `env:"REFRESH_AHEAD" envDefault:"0.2" above:"0" max:"0.9" group:"Tokens" help:"Last fraction of a token's life in which it is replaced."`
	MaxTokens    int     `env:"MAX_TOKENS" envDefault:"10000" min:"1" max:"10000000" help:"Tokens kept in memory."`
	TokenRate    float64 `env:"TOKEN_RATE" envDefault:"100" above:"0" max:"10000" help:"Token requests per second that one upstream's token endpoint gets from this process at most."`

	ReplayMethods []string      `env:"REPLAY_METHODS" envDefault:"GET,HEAD,OPTIONS,PUT,DELETE" check:"methods" group:"Forwarding" help:"Methods that may be sent again after a 401, comma-separated; none for none."`
	ReplayLimit   ByteSize      `env:"REPLAY_LIMIT" envDefault:"64KiB" min:"0B" max:"64MiB" help:"Largest request body that is kept aside to be sent again."`
	TargetTimeout time.Duration `env:"TARGET_TIMEOUT" envDefault:"60s" min:"1ms" max:"1h" help:"Until the target's response headers."`
	TokenTimeout  time.Duration `env:"TOKEN_TIMEOUT" envDefault:"10s" min:"1ms" max:"2m" help:"One token request."`
	CAFile        string        `env:"CA_FILE" check:"cafile" help:"PEM file with extra roots for targets and token endpoints. Read at start."`
	InsecureHTTP  bool          `env:"INSECURE_HTTP" envDefault:"false" help:"Allow http:// targets and token endpoints that are not loopback: tokens and credentials travel in clear."`

	DrainDelay   time.Duration `env:"DRAIN_DELAY" envDefault:"0s" min:"0s" max:"10m" group:"Process" help:"After SIGTERM: how long to keep accepting requests."`
	DrainTimeout time.Duration `env:"DRAIN_TIMEOUT" envDefault:"25s" min:"1ms" max:"10m" help:"After that: how long running requests may take to finish."`
	LogLevel     string        `env:"LOG_LEVEL" envDefault:"info" oneof:"trace,debug,info,warn,error" help:"Least level that is logged: trace, debug, info, warn, error."`
	LogFormat    string        `env:"LOG_FORMAT" envDefault:"json" oneof:"json,console" help:"json, or console for people."`

	Redis       RedisConfig       `envPrefix:"REDIS_" group:"Redis"`
	MyDataHelps MyDataHelpsConfig `envPrefix:"MYDATAHELPS_" group:"MyDataHelps"`
	PDX         PDXConfig         `envPrefix:"PDX_" group:"Mydex PDX"`
	OCLC        OCLCConfig        `envPrefix:"OCLC_" group:"OCLC"`
	HumanAPI    HumanAPIConfig    `envPrefix:"HUMANAPI_" group:"Human API"`
	OAuth2      []OAuth2Config    `envPrefix:"OAUTH2_" group:"Any OAuth 2.0 API with client credentials"`

	origin map[string]origin // by variable, of those that were given
	files  []secretFile
}

// RedisConfig is the shared cache. It is off when URL is unset.
type RedisConfig struct {
	URL      upstream.Secret `env:"URL" file:"start" check:"redisurl" needed:"true" help:"redis:// or rediss:// URL as go-redis parses it in the mode below. Values are sealed in either case, but redis:// sends the Redis password in clear. A change takes effect after a restart."`
	Mode     string          `env:"MODE" envDefault:"standalone" oneof:"standalone,sentinel,cluster" help:"standalone, sentinel or cluster. Sentinel URLs carry master_name, cluster URLs may carry further addr."`
	Keys     upstream.Secret `env:"KEYS" file:"start" check:"keyring" needed:"true" help:"Key ring id:base64,... of 32 random bytes each: the first key seals, all open. Needed with Redis; keygen prints one. A change takes effect after a restart."`
	CAFile   string          `env:"CA_FILE" check:"cafile" help:"PEM file with the roots that rediss:// trusts in place of the system's. Read at start."`
	CertFile string          `env:"CERT_FILE" help:"PEM file with the client certificate for rediss://. Read at start."`
	KeyFile  string          `env:"KEY_FILE" help:"PEM file with the private key of that certificate. Read at start."`
}

// On reports whether Redis is configured.
func (c *RedisConfig) On() bool { return c.URL.IsSet() }

// UpstreamConfig holds the settings that every upstream has with the same default.
type UpstreamConfig struct {
	AllowedScopes string   `env:"ALLOWED_SCOPES" check:"scope" help:"Scopes, space-separated, that a request may choose with X-Token-Scope beside those of the default scope."`
	NarrowScope   string   `env:"NARROW_SCOPE" envDefault:"serve" oneof:"serve,refuse" help:"A token that was granted less scope than was asked for: serve or refuse it."`
	Listen        Listener `env:"LISTEN" help:"Dedicated listener of this upstream's first route, in the form of LISTEN."`
}

// MyDataHelpsConfig is the upstream mydatahelps.
type MyDataHelpsConfig struct {
	ServiceAccount        string          `env:"SERVICE_ACCOUNT" file:"start" needed:"true" help:"Name of the service account."`
	PrivateKey            upstream.Secret `env:"PRIVATE_KEY" file:"rotates" check:"rsakey" needed:"true" help:"Its RSA private key of at least 2048 bits, PKCS#1 or PKCS#8 PEM; line breaks may be written as \\n."`
	Scope                 string          `env:"SCOPE" envDefault:"api" check:"scope" help:"Scope of participant tokens."`
	Target                *url.URL        `env:"TARGET" envDefault:"https://mydatahelps.org" help:"API host of the routes mydatahelps and mydatahelps.participant."`
	Targets               Targets         `env:"TARGETS" envDefault:"designer=https://designer.mydatahelps.org" help:"Further API hosts name=https://host,... routed as /mydatahelps.{name}/; replaces the default list."`
	TokenURL              *url.URL        `env:"TOKEN_URL" envDefault:"https://mydatahelps.org/identityserver/connect/token" help:"Token endpoint."`
	Audience              string          `env:"AUDIENCE" shown:"the token URL" help:"aud claim of the assertion."`
	AssertionLifetime     time.Duration   `env:"ASSERTION_LIFETIME" envDefault:"200s" min:"1s" max:"300s" help:"Life of the assertion, at most 300s."`
	DelegatedClientID     string          `env:"DELEGATED_CLIENT_ID" envDefault:"RKStudio.DelegatedParticipant" help:"client_id of participant token requests, a published constant."`
	DelegatedClientSecret upstream.Secret `env:"DELEGATED_CLIENT_SECRET" file:"rotates" envDefault:"secret" help:"client_secret of participant token requests, a published constant."`
	DefaultLifetime       time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"60s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	UpstreamConfig
	ParticipantListen Listener `env:"PARTICIPANT_LISTEN" help:"Dedicated listener of the route mydatahelps.participant."`
}

// On reports whether the upstream is configured.
func (c *MyDataHelpsConfig) On() bool { return c.ServiceAccount != "" }

// PDXConfig is the upstream pdx.
type PDXConfig struct {
	ClientID        string          `env:"CLIENT_ID" file:"start" needed:"true" help:"Client id."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" needed:"true" help:"Client secret."`
	Environment     string          `env:"ENVIRONMENT" envDefault:"live" oneof:"live,sandbox" help:"live or sandbox: which hosts are the defaults below."`
	Scope           string          `env:"SCOPE" envDefault:"mydex:pdx" check:"scope" help:"Scope of tokens; mydex:pdx is always part of it."`
	Target          *url.URL        `env:"TARGET" shown:"https://api.mydex.org, sandbox https://sbx-api.mydex.org" help:"API host of the route pdx."`
	Targets         Targets         `env:"TARGETS" shown:"idaas=https://idp.mydexid.org, sandbox none" help:"Further API hosts name=https://host,... routed as /pdx.{name}/; replaces the default list."`
	TokenURL        *url.URL        `env:"TOKEN_URL" shown:"https://op.mydexid.org/oauth2/token, sandbox https://sbx-op.mydexid.org/oauth2/token" help:"Token endpoint."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,post" help:"How the client authenticates: HTTP Basic, or id and secret in the form (post)."`
	BasicEncoding   string          `env:"BASIC_ENCODING" envDefault:"form" oneof:"form,plain" only:"AUTH=basic" help:"Whether id and secret are form-encoded before Basic (form, RFC 6749 section 2.3.1) or not (plain)."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"3600s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	UpstreamConfig
}

// On reports whether the upstream is configured.
func (c *PDXConfig) On() bool { return c.ClientID != "" }

// OCLCConfig is the upstream oclc.
type OCLCConfig struct {
	WSKey           string          `env:"WSKEY" file:"start" needed:"true" help:"WSKey."`
	Secret          upstream.Secret `env:"SECRET" file:"rotates" needed:"true" help:"Secret of the WSKey."`
	Scope           string          `env:"SCOPE" envDefault:"WorldCatMetadataAPI" check:"oclcscope" help:"Default scope, without context."`
	Institution     string          `env:"INSTITUTION" check:"digits" help:"Registry id of the default context institution, digits. Needed with OCLC_AUTH=hmac."`
	Target          *url.URL        `env:"TARGET" envDefault:"https://metadata.api.oclc.org" help:"API host of the route oclc."`
	Targets         Targets         `env:"TARGETS" envDefault:"discovery=https://americas.discovery.api.oclc.org" help:"Further API hosts name=https://host,... routed as /oclc.{name}/; replaces the default list."`
	TokenURL        *url.URL        `env:"TOKEN_URL" shown:"https://oauth.oclc.org/token, hmac https://authn.sd00.worldcat.org/oauth2/accessToken" help:"Token endpoint."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,hmac" help:"How the client authenticates: HTTP Basic, or the older WSKey signature (hmac)."`
	Parameters      string          `env:"PARAMETERS" envDefault:"query" oneof:"query,body" only:"AUTH=basic" help:"Whether the parameters of a token request are in its query or its body."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"1199s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	UpstreamConfig
}

// On reports whether the upstream is configured.
func (c *OCLCConfig) On() bool { return c.WSKey != "" }

// HumanAPIConfig is the upstream humanapi.
type HumanAPIConfig struct {
	ClientID        string          `env:"CLIENT_ID" file:"start" needed:"true" help:"Client id."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" needed:"true" help:"Client secret."`
	HIP             bool            `env:"HIP" envDefault:"false" help:"Health Intelligence Platform contract: its token endpoint, and the route humanapi.admin."`
	Target          *url.URL        `env:"TARGET" envDefault:"https://api.humanapi.co" help:"API host of the route humanapi."`
	Targets         Targets         `env:"TARGETS" shown:"none, HIP admin=https://admin.humanapi.co" help:"Further API hosts name=https://host,... routed as /humanapi.{name}/; replaces the default list. The name admin, only with HIP, gets the client's token; others get the user's."`
	TokenURL        *url.URL        `env:"TOKEN_URL" shown:"https://auth.humanapi.co/v1/connect/token, HIP https://auth.humanapi.co/v1/admin/token" help:"Token endpoint."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"86400s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	UpstreamConfig
}

// On reports whether the upstream is configured.
func (c *HumanAPIConfig) On() bool { return c.ClientID != "" }

// OAuth2Config is one further upstream, named by its Name.
type OAuth2Config struct {
	Name            string          `env:"NAME" check:"name" help:"Name of the upstream and of its route: a lower-case letter, then up to 31 lower-case letters, digits and dashes. Needed. The numbers n run from 0 without a gap."`
	ClientID        string          `env:"CLIENT_ID" file:"start" help:"Client id. Needed."`
	ClientSecret    upstream.Secret `env:"CLIENT_SECRET" file:"rotates" help:"Client secret. Needed with basic and post."`
	PrivateKey      upstream.Secret `env:"PRIVATE_KEY" file:"rotates" check:"rsakey" help:"RSA private key of at least 2048 bits, PEM. Needed with private_key_jwt."`
	Scope           string          `env:"SCOPE" check:"scope" help:"Scope of tokens, space-separated."`
	Target          *url.URL        `env:"TARGET" help:"API host. Needed."`
	Targets         Targets         `env:"TARGETS" help:"Further API hosts name=https://host,... routed as /{NAME}.{name}/."`
	TokenURL        *url.URL        `env:"TOKEN_URL" help:"Token endpoint. Needed."`
	Auth            string          `env:"AUTH" envDefault:"basic" oneof:"basic,post,private_key_jwt" help:"How the client authenticates: basic, post or private_key_jwt."`
	BasicEncoding   string          `env:"BASIC_ENCODING" envDefault:"form" oneof:"form,plain" only:"AUTH=basic" help:"Whether id and secret are form-encoded before Basic (form, RFC 6749 section 2.3.1) or not (plain)."`
	Audience        string          `env:"AUDIENCE" shown:"the token URL" only:"AUTH=private_key_jwt" help:"aud claim of the assertion."`
	DefaultLifetime time.Duration   `env:"DEFAULT_LIFETIME" envDefault:"300s" min:"1s" max:"720h" help:"Life assumed when a token answer names none."`
	UpstreamConfig
}
