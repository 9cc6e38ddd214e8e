package config

import (
	"errors"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream"
	"token-sidecar/upstream/upstreamtest"
)

// Of a certificate whose key does not follow it is told once, and once that this is mended;
// of one whose key follows in time nothing is told.
func TestHalfAPairIsToldOnce(t *testing.T) {
	cert1, key1, _ := upstreamtest.NewCertificate()
	cert2, key2, _ := upstreamtest.NewCertificate()
	settings := []string{"TLS_CERT=" + cert1, "TLS_KEY=" + key1, "OAUTH2_0_NAME=shop", "OAUTH2_0_CLIENT_ID=id", "OAUTH2_0_AUTH=tls",
		"OAUTH2_0_CERT=" + cert1, "OAUTH2_0_CERT_KEY=" + key1, "OAUTH2_0_TOKEN_URL=https://x.example/token", "OAUTH2_0_TARGET=https://x.example"}
	c, err := Parse(testkit.Environ(settings...), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	pairs := c.pairs()
	if len(pairs) != 2 {
		t.Fatalf("%d pairs", len(pairs))
	}
	told := func(p *secretPair, looks int) (news []error) {
		for range looks {
			if changed, err := p.look(); changed {
				news = append(news, err)
			}
		}
		return news
	}
	for i, secrets := range [][2]upstream.Secret{{c.TLSCert, c.TLSKey}, {c.OAuth2[0].Cert, c.OAuth2[0].CertKey}} {
		p := pairs[i]
		if news := told(p, 5); len(news) != 0 {
			t.Errorf("%s: told %v of a good pair", p.variable, news)
		}
		secrets[0].Replace(cert2)
		if news := told(p, pairPatience-1); len(news) != 0 {
			t.Errorf("%s: told %v before the key could follow", p.variable, news)
		}
		secrets[1].Replace(key2)
		if news := told(p, 5); len(news) != 0 {
			t.Errorf("%s: told %v although the key followed", p.variable, news)
		}
		secrets[0].Replace(cert1)
		news := told(p, 3*pairPatience)
		var fault Fault
		if len(news) != 1 || !errors.As(news[0], &fault) || fault.Variable != p.variable {
			t.Errorf("%s: told %v of half a pair, want one fault", p.variable, news)
		}
		secrets[1].Replace(key1)
		if news := told(p, 5); len(news) != 1 || news[0] != nil {
			t.Errorf("%s: told %v of the mend, want once", p.variable, news)
		}
	}
}
