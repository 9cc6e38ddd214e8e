package upstream

import (
	"crypto"
	"crypto/tls"
	"errors"
	"sync"
	"sync/atomic"
)

// ClientCertificate is a certificate with its private key, by which a client is known in TLS
// (RFC 8705). A token that was issued over a connection of it may be bound to it (section
// 3), and is sent over connections of it alone. It is immutable and safe for concurrent use.
type ClientCertificate struct {
	of   *clientCertificates
	text string // the certificates in PEM
	tls  tls.Certificate
}

// TLS returns the certificate in the form of crypto/tls, nil if c is nil. The caller must
// not change it.
func (c *ClientCertificate) TLS() *tls.Certificate {
	if c == nil {
		return nil
	}
	return &c.tls
}

// InUse reports whether no other certificate has taken the place of c. Of nil, which stands
// for no certificate, it reports true. It blocks no longer than it takes to read a new pair.
func (c *ClientCertificate) InUse() bool { return c == nil || c.of.current() == c }

// String returns [redacted], for the private key in it.
func (c *ClientCertificate) String() string { return redacted }

// GoString returns [redacted].
func (c *ClientCertificate) GoString() string { return redacted }

// clientCertificates are the client certificates of one upstream: the one in use, and those
// that take its place when both files have changed. It is safe for concurrent use.
type clientCertificates struct {
	certificate, key Secret

	reading sync.Mutex               // held by whoever reads a pair
	latest  atomic.Pointer[readPair] // nil: none was read
}

// readPair is what the two settings held when they were looked at last, and the pair that
// is in use since.
type readPair struct {
	certificate, key string
	inUse            *ClientCertificate // nil: there never was a pair
}

// current returns the certificate in use, nil if there never was one that has its key. While
// the two settings do not belong together, as when one of two files was replaced, that is
// the last one which had its key.
func (s *clientCertificates) current() *ClientCertificate {
	latest := s.latest.Load()
	if latest != nil && latest.certificate == s.certificate.Reveal() && latest.key == s.key.Reveal() {
		return latest.inUse
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	next := &readPair{certificate: s.certificate.Reveal(), key: s.key.Reveal()}
	if latest = s.latest.Load(); latest != nil {
		next.inUse = latest.inUse
	}
	changed := next.inUse == nil || next.inUse.text != next.certificate
	if pair, err := ParseClientCertificate(next.certificate, next.key); err == nil && changed {
		next.inUse = &ClientCertificate{of: s, text: next.certificate, tls: pair}
	}
	s.latest.Store(next)
	return next.inUse
}

// ParseClientCertificate reads a certificate, with those of its issuers behind it, in PEM,
// and its private key in a form that NewSigningKey takes. It fails if they do not belong
// together. Its errors quote nothing.
func ParseClientCertificate(certificate, key string) (tls.Certificate, error) {
	chain, err := ParseCertificates(certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	private, err := parsePrivateKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	public, ok := private.signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return tls.Certificate{}, errors.New("the private key is not that of the certificate")
	}
	pair := tls.Certificate{PrivateKey: private.signer, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}
