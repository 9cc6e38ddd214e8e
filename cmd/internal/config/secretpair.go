package config

import "token-sidecar/upstream"

// secretPair is a certificate and its key, which are replaced in two files. Until both are
// there whoever uses them goes on with the old pair. Once Parse has returned it belongs to
// the goroutine of WatchSecrets.
type secretPair struct {
	variable         string // of the key
	certificate, key upstream.Secret
	check            func() error // says whether they belong together

	judged string // the texts that were found good or told to be faulty
	looks  int    // how often in a row others were found faulty
	faulty bool   // that was told
}

// pairPatience is how many looks, one after each reading of the files, the second file may
// come after the first.
const pairPatience = 3

// pairs returns the pairs of the settings that are set.
func (c *Config) pairs() []*secretPair {
	var all []*secretPair
	add := func(variable string, certificate, key upstream.Secret, check func() error) {
		if certificate.IsSet() && key.IsSet() {
			all = append(all, &secretPair{variable: variable, certificate: certificate, key: key, check: check})
		}
	}
	add(prefix+"TLS_KEY", c.TLSCert, c.TLSKey, func() error {
		_, err := c.ServerTLS()
		return err
	})
	for n := range c.OAuth2 {
		u := &c.OAuth2[n]
		add(oauth2Section(n)+"CERT_KEY", u.Cert, u.CertKey, func() error {
			_, err := upstream.ParseClientCertificate(u.Cert.Reveal(), u.CertKey.Reveal())
			return err
		})
	}
	return all
}

// look reports whether there is something to tell of the pair: that its halves still do not
// belong together, or that this is mended. The error is a Fault.
func (p *secretPair) look() (changed bool, err error) {
	text := p.certificate.Reveal() + "\x00" + p.key.Reveal()
	if text == p.judged {
		return false, nil
	}
	if err := p.check(); err == nil {
		changed = p.faulty
		p.judged, p.looks, p.faulty = text, 0, false
		return changed, nil
	}
	if p.looks++; p.looks < pairPatience {
		return false, nil
	}
	p.judged, p.looks, p.faulty = text, 0, true
	return true, Fault{Variable: p.variable, Problem: "is not the key of the certificate beside it: the old pair stays in use", Mend: "replace both files"}
}
