package config

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"token-sidecar/cache/shared"
	"token-sidecar/upstream"
)

// redisSection is how the variables of Redis begin.
const redisSection = prefix + "REDIS_"

// Redis holds the settings of the Redis through which tokens are shared. It is off when URL is
// unset.
type Redis struct {
	URL      upstream.Secret `env:"URL" file:"start" check:"redisurl" needed:"true" help:"redis:// or rediss:// URL as go-redis parses it in the mode below. Values are sealed in either case, but redis:// sends the Redis password in clear. A change takes effect after a restart."`
	Mode     string          `env:"MODE" envDefault:"standalone" oneof:"standalone,sentinel,cluster" help:"standalone, sentinel or cluster. Sentinel URLs carry master_name, cluster URLs may carry further addr."`
	Keys     upstream.Secret `env:"KEYS" file:"start" check:"keyring" needed:"true" help:"Key ring id:base64,... of 32 random bytes each: the first key seals, all open. Needed with Redis; keygen prints one. A change takes effect after a restart."`
	CAFile   string          `env:"CA_FILE" check:"cafile" help:"PEM file with the roots that rediss:// trusts in place of the system's. Read at start."`
	CertFile string          `env:"CERT_FILE" help:"PEM file with the client certificate for rediss://. Read at start."`
	KeyFile  string          `env:"KEY_FILE" help:"PEM file with the private key of that certificate. Read at start."`

	driver shared.Driver // see Parse
}

// On reports whether Redis is configured.
func (c *Redis) On() bool { return c.URL.IsSet() }

// Driver returns what makes the clients of Redis, as Parse was given it.
func (c *Redis) Driver() shared.Driver { return c.driver }

// Host returns host and port of the URL, which names no more than that in clear. It
// is empty if Redis is off.
func (c *Redis) Host() string {
	u, err := url.Parse(c.URL.Reveal()) // Parse checked it
	if err != nil {
		return ""
	}
	return u.Host
}

// KeyRing returns the keys of Keys: the first seals, all open. It is empty if
// Redis is off.
func (c *Redis) KeyRing() []shared.SealKey {
	ring, _ := parseKeyRing(c.Keys.Reveal()) // Parse checked it
	return ring
}

// subjectHashKey returns the key of the hashes that stand for the tokens of an app's users: one
// that is derived from the ring's first key, so that all replicas have the same, or without
// Redis one that this process alone has.
func (c *Redis) subjectHashKey() []byte {
	ring := c.KeyRing()
	if len(ring) == 0 {
		return []byte(rand.Text() + rand.Text())
	}
	key, err := hkdf.Key(sha256.New, []byte(ring[0].Key.Reveal()), nil, "token-sidecar subject token", sha256.Size)
	if err != nil {
		panic("32 bytes can always be derived")
	}
	return key
}

// keyID is the form of the id of a key of the ring, which has 32 bytes at most.
var keyID = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// parseKeyRing reads the keys of the form id:base64,... An empty text is no key.
func parseKeyRing(s string) ([]shared.SealKey, *flaw) {
	if s == "" {
		return nil, nil
	}
	const mend = "write id:base64,... of 32 random bytes each; keygen prints one"
	var ring []shared.SealKey
	for i, item := range strings.Split(s, ",") {
		id, encoded, _ := strings.Cut(item, ":")
		key, err := base64.StdEncoding.Strict().DecodeString(encoded)
		switch {
		case !keyID.MatchString(id) || len(id) > 32:
			return nil, flawf(mend, "key %d has no valid id", i+1)
		case err != nil:
			return nil, flawf(mend, "key %d is not base64", i+1)
		case len(key) != 32:
			return nil, flawf(mend, "key %d has %d bytes, not 32", i+1, len(key))
		case weak(key):
			return nil, flawf(mend, "key %d is not random", i+1)
		}
		for _, other := range ring {
			if other.ID == id {
				return nil, flawf("give each key an id of its own", "key %d has the id of another", i+1)
			}
			if other.Key.Reveal() == string(key) {
				return nil, flawf("remove one of them", "key %d is the same as another", i+1)
			}
		}
		ring = append(ring, shared.SealKey{ID: id, Key: upstream.NewSecret(string(key))})
	}
	return ring, nil
}

// weak reports what random keys practically never are: few different bytes
// (odds under 1e-15 below 16 of them), or all of them text.
func weak(key []byte) bool {
	distinct, text := map[byte]bool{}, true
	for _, b := range key {
		distinct[b] = true
		text = text && ' ' <= b && b <= '~'
	}
	return text || len(distinct) < 16
}

// redisURLFlaw checks what holds in every mode.
func redisURLFlaw(s string) *flaw {
	const mend = "write it as redis://[user:password@]host:port/0, or rediss:// for TLS"
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return flawf(mend, "is not a URL")
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return flawf(mend, "has no redis:// or rediss:// scheme")
	case u.Hostname() == "":
		return flawf(mend, "has no host")
	case u.Query().Has("skip_verify"):
		return flawf("trust the server's roots with SIDECAR_REDIS_CA_FILE", "switches the check of the server's certificate off")
	}
	return portFlaw(u)
}

// finish tells f what is wrong with the settings taken together.
func (c *Redis) finish(f *faults) {
	if !c.On() {
		return
	}
	if c.driver.CheckURL(c.Mode, c.URL) != nil {
		f.fault(redisSection+"URL", flawf("check the database number, the options and SIDECAR_REDIS_MODE",
			"is not a URL that go-redis takes in this mode"))
	} else if c.Mode == "sentinel" && !c.namesMaster() {
		f.fault(redisSection+"URL", flawf("add ?master_name=", "does not name the master of the sentinels"))
	}
	const ca, cert, key = redisSection + "CA_FILE", redisSection + "CERT_FILE", redisSection + "KEY_FILE"
	if strings.HasPrefix(c.URL.Reveal(), "redis://") {
		for _, file := range []string{ca, cert, key} {
			if f.given[file] != "" && !f.faulty[file] {
				f.fault(file, flawf("use rediss:// or remove it", "is set, but the URL is not rediss://"))
			}
		}
		return
	}
	switch {
	case f.given[key] == "" && f.given[cert] != "":
		f.missing(key, "is not set, but the certificate is")
	case f.given[cert] == "" && f.given[key] != "":
		f.missing(cert, "is not set, but its private key is")
	case f.given[cert] != "":
		for _, file := range [][2]string{{cert, c.CertFile}, {key, c.KeyFile}} {
			if _, flaw := readRegularFile(file[1], maxFile); flaw != nil && !f.faulty[file[0]] {
				f.fault(file[0], flaw)
			}
		}
		if _, err := c.TLS(); err != nil && !f.faulty[cert] && !f.faulty[key] && !f.faulty[ca] {
			f.fault(cert, flawf("give PEM files that belong together", "and SIDECAR_REDIS_KEY_FILE are not a certificate and its key"))
		}
	}
}

// namesMaster reports whether the URL says which master the sentinels are to be asked for.
func (c *Redis) namesMaster() bool {
	u, err := url.Parse(c.URL.Reveal())
	return err == nil && u.Query().Get("master_name") != ""
}

// TLS returns the roots and the certificate for rediss:// URLs, which it reads
// from their files.
func (c *Redis) TLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		config.RootCAs = x509.NewCertPool()
		if err := addRoots(config.RootCAs, c.CAFile); err != nil {
			return nil, err
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
