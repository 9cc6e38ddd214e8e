package sidecar

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"token-sidecar/cmd/internal/config"
)

// healthcheck asks the admin listener of a sidecar with the same settings for path:
// /livez tells whether it lives, /readyz whether it also takes requests. It waits for two
// seconds at most. It is a probe for images without a shell.
func healthcheck(ctx context.Context, listener config.Listener, path string) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, listener.Network, reachable(listener))
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the admin listener %s does not answer", listener)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d", path, res.StatusCode)
	}
	return nil
}

// reachable returns an address at which a listener is reached, of a wildcard too.
func reachable(l config.Listener) string {
	host, port, err := net.SplitHostPort(l.Address)
	if l.Network == "unix" || err != nil {
		return l.Address
	}
	switch host {
	case "", "::":
		host = "localhost"
	case "0.0.0.0":
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
