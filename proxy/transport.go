package proxy

import (
	"net/http"
	"net/url"
	"time"
)

// connections are those to one target.
type connections struct {
	lean     *leanPool
	requests *http.Transport
	upgrades *http.Transport // HTTP/1 only; upgraded connections live long, and must not use up those for requests
}

func newConnections(c Config, target *url.URL) connections {
	return connections{newLeanPool(c, target), newTransport(c, "h2", "http/1.1"), newTransport(c, "http/1.1")}
}

func (c connections) closeIdle() {
	c.lean.closeIdle()
	c.requests.CloseIdleConnections()
	c.upgrades.CloseIdleConnections()
}

// newTransport returns a transport that offers the given protocols (ALPN).
func newTransport(c Config, protocols ...string) *http.Transport {
	d := newDialer(c, protocols...)
	return &http.Transport{
		// No Proxy: HTTP_PROXY and its kin must not send tokens elsewhere.
		DialContext:            d.dial,
		DialTLSContext:         d.dialTLS,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second}, // else a dead connection fails all requests for minutes
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
