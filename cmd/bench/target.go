package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// The kinds of targets.
const (
	plain = "plain"  // HTTP/1.1 in clear
	tlsH1 = "tls-h1" // HTTP/1.1 over TLS
	tlsH2 = "tls-h2" // HTTP/2 over TLS
)

// targets are the servers behind the proxies, in this process.
type targets struct {
	servers map[string]*httptest.Server
	opened  map[string]*atomic.Int64 // connections, by kind
	roots   string                   // PEM file that makes the TLS ones trusted
}

// startTargets starts one target of each kind. dir takes the certificate.
func startTargets(dir string) (*targets, error) {
	t := &targets{map[string]*httptest.Server{}, map[string]*atomic.Int64{}, filepath.Join(dir, "roots.pem")}
	for _, kind := range []string{plain, tlsH1, tlsH2} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(serveBytes))
		opened := new(atomic.Int64)
		t.opened[kind] = opened
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				opened.Add(1)
			}
		}
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // connections that are cut when a proxy ends
		switch kind {
		case plain:
			s.Start()
		case tlsH1:
			s.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
			s.StartTLS()
		case tlsH2:
			s.EnableHTTP2 = true
			s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
			s.StartTLS()
		}
		t.servers[kind] = s
	}
	block := &pem.Block{Type: "CERTIFICATE", Bytes: t.servers[tlsH2].Certificate().Raw}
	return t, os.WriteFile(t.roots, pem.EncodeToMemory(block), 0o600)
}

func (t *targets) url(kind string) string  { return t.servers[kind].URL }
func (t *targets) host(kind string) string { return t.servers[kind].Listener.Addr().String() }

func (t *targets) close() {
	for _, s := range t.servers {
		s.CloseClientConnections()
		s.Close()
	}
}

// maxAnswer bounds the size of an answer, in bytes.
const maxAnswer = 16 << 20

// serveBytes answers /bytes/{n} with n bytes to whoever sends a token.
func serveBytes(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/bytes/"))
	if err != nil || n < 0 || n > maxAnswer {
		http.Error(w, "no such path", http.StatusNotFound)
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		http.Error(w, "no token", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	for n > 0 {
		part := min(n, len(filler))
		if _, err := io.WriteString(w, filler[:part]); err != nil {
			return
		}
		n -= part
	}
}

// filler is what answers are made of: as long as one flight on loopback.
var filler = strings.Repeat("0123456789abcdef", 4096)
