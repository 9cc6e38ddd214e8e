package sidecar

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"token-sidecar/cmd/internal/config"
)

// healthcheck asks the admin listener of a sidecar with the same settings
// whether it lives, or with the argument "ready" whether it takes requests.
// It is a probe for images without a shell.
func healthcheck(ctx context.Context, settings *config.Config, args []string) error {
	path := "/livez"
	switch {
	case len(args) == 1 && args[0] == "ready":
		path = "/readyz"
	case len(args) > 0:
		return &ExitError{exitConfig, `healthcheck takes no argument but "ready"`}
	}
	listener := settings.AdminListen
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

// reachable returns an address at which a wildcard listener is reached.
func reachable(l config.Listener) string {
	host, port, err := net.SplitHostPort(l.Address)
	if l.Network == "unix" || err != nil {
		return l.Address
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
		if ip != nil && !strings.Contains(host, ":") && ip.To4() != nil {
			host = "127.0.0.1"
		}
	}
	return net.JoinHostPort(host, port)
}
