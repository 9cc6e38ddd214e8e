package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/upstream/upstreamtest"
)

// isOf reports whether the server has shown cert, which is in PEM.
func isOf(state *tls.ConnectionState, cert string) bool {
	block, _ := pem.Decode([]byte(cert))
	return bytes.Equal(state.PeerCertificates[0].Raw, block.Bytes)
}

// overTLS returns a client that trusts cert, shows own, and keeps no connection.
func overTLS(t *testing.T, cert string, own ...tls.Certificate) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(cert))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: own}, DisableKeepAlives: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: testkit.Patience}
}

// tried asks the data listener over TLS, and returns an error unless the status is 200.
func (p *process) tried(client *http.Client) (*tls.ConnectionState, error) {
	res, err := client.Get("https://" + p.addrs["data"] + "/books/x")
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
		return nil, fmt.Errorf("status %d, %s, %w", res.StatusCode, body, err)
	}
	return res.TLS, nil
}

// The data listener speaks TLS if there is a certificate, and nothing else; a new pair of
// certificate and key is taken up without a failed request; one that does not belong together
// leaves the old pair in use.
func TestCertificateRotatesWithoutAFailedRequest(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	cert1, key1, _ := upstreamtest.NewCertificate()
	cert2, key2, _ := upstreamtest.NewCertificate()
	certFile, keyFile := filepath.Join(t.TempDir(), "cert"), filepath.Join(t.TempDir(), "key")
	writeOver(t, certFile, cert1)
	writeOver(t, keyFile, key1)
	p := start(t, &books.secrets, books.environ("SIDECAR_TLS_CERT_FILE="+certFile, "SIDECAR_TLS_KEY_FILE="+keyFile, "SIDECAR_LOG_LEVEL=info")...)
	client := overTLS(t, cert1+cert2)
	state, err := p.tried(client)
	if err != nil || state.Version < tls.VersionTLS12 || !isOf(state, cert1) {
		t.Fatalf("%+v, %v", state, err)
	}
	if a, err := p.get("/books/x"); err != nil || a.status != 400 {
		t.Errorf("plain HTTP: %v, %v", a, err)
	}
	if a, err := p.admin("/livez"); err != nil || a.status != 200 {
		t.Errorf("the admin listener: %v, %v", a, err)
	}
	for name, config := range map[string]*tls.Config{"h2": {NextProtos: []string{"h2"}}, "TLS 1.1": {MaxVersion: tls.VersionTLS11}} {
		config.InsecureSkipVerify = true
		if conn, err := tls.Dial("tcp", p.addrs["data"], config); err == nil {
			t.Errorf("%s is spoken", name)
			_ = conn.Close()
		}
	}
	underLoad(t, func() error { _, err := p.tried(client); return err }, func() {
		writeOver(t, certFile, cert2)
		writeOver(t, keyFile, key2)
		testkit.Eventually(t, "the new certificate", func() error {
			state, err := p.tried(client)
			if err == nil && !isOf(state, cert2) {
				err = fmt.Errorf("it is the old one")
			}
			return err
		})
	})
	writeOver(t, keyFile, key1)
	testkit.Eventually(t, "the fault is told", func() error {
		if !strings.Contains(p.stderr.String(), "SIDECAR_TLS_KEY: is not the key of the certificate beside it") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	if state, err := p.tried(client); err != nil || !isOf(state, cert2) {
		t.Errorf("after a faulty pair: %v", err)
	}
}

// With client roots only those come in who show a certificate of theirs. Who does not finish
// the handshake holds nobody up, and the end waits for requests under way.
func TestClientsShowTheirCertificate(t *testing.T) {
	t.Parallel()
	books := newProvider(t, upstreamtest.OAuth2Options{})
	cert, key, _ := upstreamtest.NewCertificate()
	clientCert, clientKey, _ := upstreamtest.NewCertificate()
	strangeCert, strangeKey, _ := upstreamtest.NewCertificate()
	p := start(t, &books.secrets, books.environ("SIDECAR_TLS_CERT="+cert, "SIDECAR_TLS_KEY="+key, "SIDECAR_TLS_CLIENT_CA="+clientCert)...)
	for range 50 {
		conn, err := net.Dial("tcp", p.addrs["data"])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		if _, err := conn.Write([]byte{22, 3, 1}); err != nil {
			t.Fatal(err)
		}
	}
	own, err := tls.X509KeyPair([]byte(clientCert), []byte(clientKey))
	if err != nil {
		t.Fatal(err)
	}
	strange, err := tls.X509KeyPair([]byte(strangeCert), []byte(strangeKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.tried(overTLS(t, cert, own)); err != nil {
		t.Errorf("with the certificate: %v", err)
	}
	if _, err := p.tried(overTLS(t, cert, strange)); err == nil {
		t.Error("a certificate of others is taken")
	}
	if _, err := p.tried(overTLS(t, cert)); err == nil {
		t.Error("no certificate is taken")
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	books.SetAPIFault(func(r *http.Request, _ int) *upstreamtest.Answer {
		close(arrived)
		<-release
		return nil
	})
	result := make(chan error, 1)
	go func() {
		_, err := p.tried(overTLS(t, cert, own))
		result <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	select {
	case <-arrived:
	case <-ctx.Done():
		t.Fatal("the request does not arrive")
	}
	p.signal(syscall.SIGTERM)
	testkit.Eventually(t, "it drains", func() error {
		if !strings.Contains(p.stderr.String(), "draining") {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if code := p.AwaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
