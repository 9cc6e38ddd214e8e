// Package config reads the settings of the program from its environment and from
// the files that the environment names, says all that is wrong with them at once and
// how to mend it, and hands out what the other packages are made with.
//
// parse.go is the way of the settings: environ.go finds the program's variables in
// the environment, parse.go gives each setting its value, and check.go judges the
// values together. The rest of the program then asks for what the settings are for:
// upstreams.go makes the upstreams, secretwatch.go keeps secrets up to date with their
// files, and tells by secretpair.go of a certificate whose key was not replaced, effective.go
// and help.go print settings for people. listen.go judges addresses for check.go and
// effective.go. settings.go lists all settings, by the tags
// of the one struct, which is in config.go. providers.go is the table of the providers,
// each of which has a file of its own with its settings, what they must fulfil
// together and what is made of them: mydatahelps.go, pdx.go, oclc.go, humanapi.go, and
// oauth2.go for any other, with oauth2_check.go for what they must fulfil; egress.go
// is the proxy that all connections go through, with the rules of its settings, and tls.go
// how apps are served over TLS; common.go is what they share. value.go turns the text of one
// setting into a value and judges it by itself. It knows the settings of audit.go, the keys and
// URLs of redis.go, the types of values in types.go and url.go, and has secretfile.go read a file.
// fault.go is how what is wrong is told.
package config

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"runtime/debug"
	"time"

	"token-sidecar/upstream"
)

// prefix is how every variable begins.
const prefix = "SIDECAR_"

// oauth2Section is how the variables of the generic upstream n begin.
func oauth2Section(n int) string { return fmt.Sprintf("%sOAUTH2_%d_", prefix, n) }

// Config is the whole configuration of the program. The tags of its fields are
// the only list of settings there is: parsing, help text and the table in
// docs/settings.md are made from them.
//
//	env         name of the variable, without what envPrefix puts before it
//	envPrefix   how the variables of the settings in this struct begin
//	envDefault  default, in the form of the variable
//	when, then  the default is then where another setting of the section has that value
//	help        what the setting means
//	shown       the default in words, where code fills it in
//	group       heading of this setting and those that follow
//	file        X_FILE may name a file: "rotates" while running, "start" only then
//	check       name of a rule in valueChecks
//	oneof       the values there are
//	above, min, max  range of a number, size, rate or duration
//	needed      the section is on when all of these are set
//	with        the setting needs the one of that name of its section
//	only        the setting has a meaning only beside NAME=value of its section
//
// A Config from Parse is complete and consistent. It is read-only, save
// that Secrets from files change their value while WatchSecrets runs.
type Config struct {
	Listen       Listener        `env:"LISTEN" envDefault:"127.0.0.1:8080" group:"Listeners" help:"Data listener: host:port, or unix:/path for a socket. Port 0 picks a free one. localhost means 127.0.0.1; no name is looked up to decide whether an address is loopback."`
	AdminListen  Listener        `env:"ADMIN_LISTEN" envDefault:"127.0.0.1:9090" help:"Admin listener: metrics, probes and a status page. A kubelet or Prometheus reaches it only on a non-loopback address, see EXPOSE."`
	Expose       string          `env:"EXPOSE" envDefault:"false" oneof:"false,admin,true" help:"Which listeners may be on non-loopback addresses: none (false), the admin listener alone (admin), all (true). Whoever reaches a data listener uses the credentials, unless CALLERS or TLS_CLIENT_CA is set; without TLS_CERT requests and answers travel in clear."`
	JWKSListen   Listener        `env:"JWKS_LISTEN" help:"Listener that serves the JWK Set of the public keys of generic upstreams at /.well-known/jwks.json, and nothing else, for providers that fetch it. It may be on any address without EXPOSE: what it shows is public."`
	AllowedHosts []string        `env:"ALLOWED_HOSTS" check:"hosts" help:"Further Host names, without port, that the data and admin listeners accept beside the loopback names, comma-separated."`
	CallerToken  upstream.Secret `env:"CALLER_TOKEN" file:"rotates" check:"header" help:"If set, callers must send it in X-Sidecar-Token."`
	Callers      upstream.Secret `env:"CALLERS" file:"rotates" check:"callers" help:"Callers by name, one a line: name, white space, token. Each must send a token of its own, or CALLER_TOKEN, in X-Sidecar-Token; the name is in the access log. A name may have several lines, so that a token can be replaced. Tokens have 16 to 4096 visible ASCII characters; lines that begin with # do not count."`
	TLSCert      upstream.Secret `env:"TLS_CERT" file:"rotates" check:"certificates" with:"TLS_KEY" help:"Certificate, with its intermediates, in PEM: the data listener and the dedicated ones speak TLS 1.2 or later on TCP; Unix sockets, the admin listener and JWKS_LISTEN do not. A new pair is used by new connections."`
	TLSKey       upstream.Secret `env:"TLS_KEY" file:"rotates" check:"tlskey" with:"TLS_CERT" help:"Private key of TLS_CERT, PEM, unencrypted."`
	TLSClientCA  upstream.Secret `env:"TLS_CLIENT_CA" file:"rotates" check:"certificates" with:"TLS_CERT" help:"Roots in PEM: then each client of those listeners must show a certificate that one of them has issued."`
	Vend         []string        `env:"VEND" help:"Routes whose tokens may be handed to the app itself by POST /token/{route}, comma-separated. Only routes that need a subject: mydatahelps.participant, humanapi, and generic ones with SUBJECT=required."`

	RefreshAhead float64 `env:"REFRESH_AHEAD" envDefault:"0.2" above:"0" max:"0.9" group:"Tokens" help:"Last fraction of a token's life in which it is replaced."`
	MaxTokens    int     `env:"MAX_TOKENS" envDefault:"10000" min:"1" max:"10000000" help:"Tokens kept in memory."`
	TokenRate    float64 `env:"TOKEN_RATE" envDefault:"100" above:"0" max:"10000" help:"Token requests per second that one upstream's token endpoint gets from this process in the long run; after a rest, those of one second may come at once."`

	ReplayMethods []string      `env:"REPLAY_METHODS" envDefault:"GET,HEAD,OPTIONS,PUT,DELETE" check:"methods" group:"Forwarding" help:"Methods that may be sent again after a 401, comma-separated; none for none."`
	ReplayLimit   ByteSize      `env:"REPLAY_LIMIT" envDefault:"64KiB" min:"0B" max:"64MiB" help:"Largest request body that is kept aside to be sent again. Each request with a larger body, or with one in chunks, opens a connection of its own to the target."`
	TargetTimeout time.Duration `env:"TARGET_TIMEOUT" envDefault:"60s" min:"1ms" max:"1h" help:"Until the target's response headers."`
	TokenTimeout  time.Duration `env:"TOKEN_TIMEOUT" envDefault:"10s" min:"1ms" max:"2m" help:"One token request."`
	CAFile        string        `env:"CA_FILE" check:"cafile" help:"PEM file with extra roots for targets and token endpoints. Read at start."`
	InsecureHTTP  bool          `env:"INSECURE_HTTP" envDefault:"false" help:"Allow http:// targets and token endpoints that are not loopback: tokens and credentials travel in clear."`

	EgressProxy     *url.URL        `env:"EGRESS_PROXY" check:"egressproxy" group:"Egress proxy" help:"HTTP proxy http://host:port that connections to targets and token endpoints go through, by CONNECT. Certificates are still those of targets and token endpoints. Redis is reached directly. HTTPS_PROXY and its kin are ignored."`
	EgressProxyAuth upstream.Secret `env:"EGRESS_PROXY_AUTH" file:"rotates" check:"userpass" with:"EGRESS_PROXY" help:"user:password for that proxy, sent by Basic authentication. It travels to the proxy in clear."`
	EgressDirect    []string        `env:"EGRESS_DIRECT" check:"direct" with:"EGRESS_PROXY" help:"Hosts that are reached without that proxy, comma-separated: api.example.org, .example.org for the names below it, 192.0.2.7, 10.0.0.0/8. Loopback always is."`

	DrainDelay   time.Duration `env:"DRAIN_DELAY" envDefault:"0s" min:"0s" max:"10m" group:"Process" help:"After SIGTERM: how long to keep accepting requests."`
	DrainTimeout time.Duration `env:"DRAIN_TIMEOUT" envDefault:"25s" min:"1ms" max:"10m" help:"After that: how long running requests may take to finish."`
	LogLevel     string        `env:"LOG_LEVEL" envDefault:"info" oneof:"trace,debug,info,warn,error" help:"Least level that is logged: trace, debug, info, warn, error."`
	LogFormat    string        `env:"LOG_FORMAT" envDefault:"json" oneof:"json,console" help:"json, or console for people."`

	Audit         string          `env:"AUDIT" check:"auditpath" with:"AUDIT_KEY" group:"Audit" help:"Where lines go about each request for a subject, before it is sent: stdout, or /path of a file. A request whose line cannot be written is refused."`
	AuditKey      upstream.Secret `env:"AUDIT_KEY" file:"rotates" check:"auditkey" with:"AUDIT" help:"Key of the pseudonyms of subjects in these lines, id:base64 of 32 random bytes; keygen prints one."`
	AuditPurposes []string        `env:"AUDIT_PURPOSES" check:"words" with:"AUDIT" help:"Words that apps may give in X-Token-Purpose, comma-separated; the word is in the line."`

	Redis Redis `envPrefix:"REDIS_" group:"Redis"`
	Providers
	OAuth2 []OAuth2 `envPrefix:"OAUTH2_" group:"Any OAuth 2.0 API with client credentials"`

	given   map[string]origin // by variable, of those that were set
	ignored []string          // variables for HTTP proxies that the environment has
	files   []*secretFile
}

// Roots returns the system's certificate authorities and those of CA_FILE. They
// are read at the start, and not when the first of them is needed, so that the
// megabytes this takes for a moment can be given back before anything is served.
func (c *Config) Roots() (*x509.CertPool, error) {
	defer debug.FreeOSMemory()
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	return pool, addRoots(pool, c.CAFile)
}
