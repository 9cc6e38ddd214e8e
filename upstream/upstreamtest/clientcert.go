package upstreamtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"time"
)

// NewCertificate returns a self-signed certificate for 127.0.0.1 and further addresses, and
// its private key, both in PEM, and the thumbprint x5t#S256 of the certificate (RFC 8705
// section 3.1). It serves for clients and for servers.
func NewCertificate(further ...net.IP) (certificate, key, thumbprint string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IPAddresses: append(further, net.IPv4(127, 0, 0, 1)), IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		panic(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", privateDER), thumbprintOf(der)
}

// thumbprintOf returns the x5t#S256 of a certificate in DER.
func thumbprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// presented returns the thumbprint of the certificate that the client of r has presented, ""
// if there is none.
func presented(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return thumbprintOf(r.TLS.PeerCertificates[0].Raw)
}

// requireCertificates has s speak TLS, with every client presenting a certificate.
func (s *Server) requireCertificates() {
	certificate, key, _ := NewCertificate()
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		panic(err)
	}
	s.ca = certificate
	s.tls = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert}
}

// CA returns the certificate authority that clients have to trust, in PEM, "" if the server
// speaks plain HTTP.
func (s *Server) CA() string { return s.ca }
