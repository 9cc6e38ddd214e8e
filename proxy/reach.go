package proxy

import (
	"context"
	"crypto/x509"

	"token-sidecar/proxy/internal/targetconn"
	"token-sidecar/upstream"
	"token-sidecar/upstream/egress"
)

// Reach opens a connection to the target of r as a request with token would need it, TLS with
// the token's client certificate included, and closes it. No request is sent. Roots and through
// are those of Config. It blocks until ctx ends or for 21 s at most. [upstream.ConnError] names
// the error.
func Reach(ctx context.Context, r upstream.Route, token upstream.Token, roots *x509.CertPool, through *egress.Proxy) error {
	d := targetconn.NewDialer(roots, token.Certificate().TLS(), "h2", "http/1.1")
	d.DialContext = through.Through(d.DialContext)
	return d.Try(ctx, r.Target)
}
