package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"time"
)

// bareOptions say where a bare proxy listens and what it forwards to.
type bareOptions struct{ listen, target, roots string }

// runBare is the measure: the standard library's ReverseProxy, tuned, with a
// constant Authorization header and nothing else.
func runBare(ctx context.Context, o bareOptions) error {
	target, err := url.Parse(o.target)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(o.roots)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return fmt.Errorf("no certificate in %s", o.roots)
	}
	header := []string{"Bearer a-constant-token-of-the-usual-length-0123456789abcdef"}
	server := &http.Server{
		Addr:              o.listen,
		ReadHeaderTimeout: 10 * time.Second,
		Handler: &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Header["Authorization"] = header
			},
			Transport: &http.Transport{
				TLSClientConfig:     &tls.Config{RootCAs: roots},
				ForceAttemptHTTP2:   true,
				MaxIdleConns:        512,
				MaxIdleConnsPerHost: 512,
				DisableCompression:  true,
			},
			BufferPool: &copyBuffers{sync.Pool{New: func() any { return new([copyBuffer]byte) }}},
			ErrorLog:   log.New(io.Discard, "", 0),
		},
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const copyBuffer = 32 << 10

// copyBuffers are buffers of httputil.ReverseProxy, used again and again.
type copyBuffers struct{ sync.Pool }

// Get implements [httputil.BufferPool].
func (p *copyBuffers) Get() []byte { return p.Pool.Get().(*[copyBuffer]byte)[:] }

// Put implements [httputil.BufferPool].
func (p *copyBuffers) Put(b []byte) { p.Pool.Put((*[copyBuffer]byte)(b)) }
