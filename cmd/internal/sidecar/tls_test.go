package sidecar

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"net"
	"testing"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// handshake returns the certificate that an app sees that shows a certificate of its own, or
// why the two sides do not come together.
func (t *servedTLS) handshake(cert, key string) ([]byte, error) {
	own, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	defer func() { _, _ = near.Close(), far.Close() }()
	served := make(chan error, 1)
	go func() { served <- tls.Server(far, t.config()).Handshake() }()
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}})
	if err := client.Handshake(); err != nil {
		_ = near.Close()
		<-served
		return nil, err
	}
	go func() { _, _ = client.Read(make([]byte, 1)) }() // takes an alert
	return client.ConnectionState().PeerCertificates[0].Raw, <-served
}

// Each handshake is by the certificate and the client roots that the files hold at its start;
// while certificate and key do not belong together it is by the last that did.
func TestHandshakesFollowTheFiles(t *testing.T) {
	cert1, key1, _ := upstreamtest.NewCertificate()
	cert2, key2, _ := upstreamtest.NewCertificate()
	app1, appKey1, _ := upstreamtest.NewCertificate()
	app2, appKey2, _ := upstreamtest.NewCertificate()
	settings, err := config.Parse(testkit.Environ("OCLC_WSKEY=x", "OCLC_SECRET=y", "TLS_CERT="+cert1, "TLS_KEY="+key1, "TLS_CLIENT_CA="+app1), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	served, err := newServedTLS(settings)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when, cert string, first, second bool) {
		t.Helper()
		for i, app := range [][2]string{{app1, appKey1}, {app2, appKey2}} {
			seen, err := served.handshake(app[0], app[1])
			if want := []bool{first, second}[i]; (err == nil) != want {
				t.Errorf("%s: app %d comes in: %v, want %t", when, i+1, err, want)
			}
			if block, _ := pem.Decode([]byte(cert)); err == nil && !bytes.Equal(seen, block.Bytes) {
				t.Errorf("%s: app %d sees another certificate", when, i+1)
			}
		}
	}
	expect("at the start", cert1, true, false)
	settings.TLSCert.Replace(cert2)
	expect("with half a pair", cert1, true, false)
	settings.TLSKey.Replace(key2)
	expect("with the new pair", cert2, true, false)
	settings.TLSClientCA.Replace(app2)
	expect("with other client roots", cert2, false, true)
}
