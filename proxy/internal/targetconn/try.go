package targetconn

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"os"
	"time"
)

// refusalTime is how long Try waits for a target to refuse the client certificate: with TLS
// 1.3 (RFC 8446 section 4.4.2.4) it does so after the handshake.
const refusalTime = time.Second

// Try opens a connection to target, TLS included if that is its scheme, and closes it without
// having sent a request. It blocks for the timeouts of dialing and of the handshake at most,
// and for a second more where the target asks for a client certificate, or until ctx ends.
func (d *Dialer) Try(ctx context.Context, target *url.URL) error {
	raw, err := d.DialContext(ctx, "tcp", Address(target))
	if err != nil || target.Scheme != "https" {
		if err == nil {
			_ = raw.Close()
		}
		return err
	}
	asked := false // for a client certificate
	own := d.tls.Clone()
	own.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if d.tls.GetClientCertificate != nil {
			return d.tls.GetClientCertificate(info)
		}
		return new(tls.Certificate), nil
	}
	c, err := (&Dialer{tls: own}).handshake(ctx, raw, Address(target))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if !asked {
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(refusalTime))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return err // nil: a byte that nobody asked for, such as settings of HTTP/2
	}
	return nil
}
