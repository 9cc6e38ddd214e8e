package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// tlsTarget is a target with TLS and HTTP/2, and the roots a sidecar may trust.
type tlsTarget struct {
	*httptest.Server
	url    string
	roots  map[string]*x509.CertPool
	served atomic.Int64
	serve  func(http.ResponseWriter, *http.Request) // nil: "over TLS"
}

// newTLSTarget starts one that speaks no later version of TLS than maxVersion; 0 is any.
func newTLSTarget(t *testing.T, maxVersion uint16) *tlsTarget {
	return newTLSTargetOn(t, listen(t), maxVersion)
}

func newTLSTargetOn(t *testing.T, l net.Listener, maxVersion uint16) *tlsTarget {
	target := &tlsTarget{}
	target.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target.served.Add(1)
		if target.serve != nil {
			target.serve(w, r)
			return
		}
		_, _ = io.WriteString(w, "over TLS")
	}))
	_ = target.Listener.Close()
	target.Listener = l
	target.EnableHTTP2 = true
	target.Config.ErrorLog = quiet
	target.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}, MaxVersion: maxVersion, MinVersion: min(maxVersion, tls.VersionTLS12)}
	target.StartTLS()
	t.Cleanup(target.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(target.Certificate())
	target.url = target.URL
	target.roots = map[string]*x509.CertPool{"trusted": trusted, "none": x509.NewCertPool()}
	return target
}
