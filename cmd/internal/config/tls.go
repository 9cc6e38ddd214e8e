package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// ServerTLS returns how apps are served over TLS by the certificate, the key and the client
// roots as they are now; nil without a certificate. Its error quotes nothing.
//
// No session is resumed, so that each connection is judged by what was in use at its start.
func (c *Config) ServerTLS() (*tls.Config, error) {
	if !c.TLSCert.IsSet() {
		return nil, nil
	}
	pair, err := tls.X509KeyPair([]byte(c.TLSCert.Reveal()), []byte(c.TLSKey.Reveal()))
	if err != nil {
		return nil, errors.New("certificate and key do not belong together")
	}
	config := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"http/1.1"},
		Certificates:           []tls.Certificate{pair},
		SessionTicketsDisabled: true,
	}
	if c.TLSClientCA.IsSet() {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM([]byte(c.TLSClientCA.Reveal())) {
			return nil, errors.New("the client CA has no certificate")
		}
	}
	return config, nil
}

// checkTLS makes sure that certificate and key belong together.
func (l *loader) checkTLS(c *Config) {
	const variable = prefix + "TLS_KEY"
	if !c.TLSCert.IsSet() || !c.TLSKey.IsSet() || l.faulty[variable] {
		return
	}
	if _, err := c.ServerTLS(); err != nil {
		l.fault(variable, flawf("give the key of the first certificate in SIDECAR_TLS_CERT", "cannot be used: %s", err))
	}
}

// readPrivateKey looks for a private key in PEM. Its error quotes nothing.
func readPrivateKey(text string) error {
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		_, err1 := x509.ParsePKCS8PrivateKey(block.Bytes)
		_, err2 := x509.ParsePKCS1PrivateKey(block.Bytes)
		_, err3 := x509.ParseECPrivateKey(block.Bytes)
		if err1 != nil && err2 != nil && err3 != nil {
			return errors.New("its private key is encrypted or of no known form")
		}
		return nil
	}
	return errors.New("it holds no private key in PEM")
}
