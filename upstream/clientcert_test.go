package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"token-sidecar/upstream/upstreamtest"
)

// certified returns an upstream of s that presents a client certificate, and the Secrets of
// the certificate and its key.
func certified(t *testing.T, tokenURL, ca, certificate, key string) (u *oauth2, cert, private Secret) {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		t.Fatal("no certificate authority")
	}
	cert, private = NewSecret(certificate), NewSecret(key)
	u = newTestOAuth2(t, tokenURL, func(c *OAuth2Config) {
		c.Auth, c.ClientSecret, c.Roots, c.Certificate, c.CertKey = AuthTLS, Secret{}, roots, cert, private
	})
	t.Cleanup(u.CloseIdleConnections)
	return u, cert, private
}

// The client proves itself by its certificate, and names itself in client_id and nowhere
// else (RFC 8705 section 2). A new certificate is used together with its key, for tokens
// with another fingerprint; the tokens of the old one do not count any more.
func TestClientCertificateIsReplacedTogetherWithItsKey(t *testing.T) {
	s := upstreamtest.NewEndpoint(upstreamtest.EndpointRules{ClientID: testID, Auth: upstreamtest.AuthTLS,
		ClientCertificate: func(string) bool { return true }})
	t.Cleanup(s.Close)
	oldCertificate, oldKey, oldPrint := upstreamtest.NewCertificate()
	newCertificate, newKey, newPrint := upstreamtest.NewCertificate()
	u, cert, key := certified(t, s.TokenURL(), s.CA(), oldCertificate, oldKey)
	want := func(step, thumbprint string) Token {
		t.Helper()
		token, err := fetch(t, u, "")
		if err != nil {
			t.Fatal(err)
		}
		if grant, _ := s.Issued(token.AccessToken()); grant.Thumbprint != thumbprint || !token.Certificate().InUse() {
			t.Errorf("%s: the token is bound to another certificate", step)
		}
		return token
	}
	first, before := want("at first", oldPrint), u.Fingerprint()
	cert.Replace(newCertificate)
	want("without the new key", oldPrint)
	if u.Fingerprint() != before || !first.Certificate().InUse() {
		t.Error("half of a pair has changed the fingerprint")
	}
	key.Replace(newKey)
	if u.Fingerprint() == before || first.Certificate().InUse() {
		t.Error("the old certificate is still in use")
	}
	second := want("with both", newPrint)
	if _, ok := u.Bind(second, before); ok {
		t.Error("a token of another replica was taken, which has the old certificate")
	}
	if bound, ok := u.Bind(second, u.Fingerprint()); !ok || bound.Certificate() != second.Certificate() {
		t.Error("a token of another replica was not taken, which has the same certificate")
	}
}

// The alert of a server that does not trust the certificate arrives, in TLS 1.3, after the
// handshake of the client has ended.
func TestRefusedClientCertificateIsAnAlert(t *testing.T) {
	certificate, key, _ := upstreamtest.NewCertificate()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(), MaxVersion: version}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		u, _, _ := certified(t, s.URL, pemOf(t, "CERTIFICATE", s.Certificate().Raw, nil), certificate, key)
		_, err := fetch(t, u, "")
		var own *Error
		if !errors.As(err, &own) || own.Reason != "no answer: tls_alert_received" || own.Cause != "tls_alert_received" {
			t.Errorf("TLS %x: %v", version, err)
		}
	}
}
