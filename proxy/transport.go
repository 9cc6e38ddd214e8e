package proxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// newTransport returns the connections to one target.
func newTransport(c Config) *http.Transport {
	return &http.Transport{
		// No Proxy: HTTP_PROXY and its kin must not send tokens elsewhere.
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(64)},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           512,
		MaxIdleConnsPerHost:    512,
		MaxConnsPerHost:        1024,
		IdleConnTimeout:        60 * time.Second,
		ResponseHeaderTimeout:  c.TargetTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 256 << 10,
		// The Transport would ask for gzip and unpack it when the app did not
		// ask: other bytes than the target sent, and a bomb unpacked here.
		DisableCompression: true,
	}
}
