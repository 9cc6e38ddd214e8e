package sidecar

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// adminHandler serves the admin listener: nothing of it changes state, nothing
// of it is reachable through the data listeners, and nothing of it waits for a
// provider or Redis, so that their trouble never restarts a pod.
func (s *Sidecar) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Load() {
			plain(w, http.StatusServiceUnavailable, "draining")
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /{$}", newStatusPage(s.report))
	hosts := s.config.hosts(s.config.Expose != "false")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !hosts.Allowed(r.Host):
			plain(w, http.StatusForbidden, "this Host is not served; see SIDECAR_ALLOWED_HOSTS")
		case r.Header.Get("Origin") != "", site != "" && site != "none" && site != "same-origin":
			plain(w, http.StatusForbidden, "requests from other sites are not served")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// healthcheck asks the admin listener of a sidecar with the same settings
// whether it lives, or with the argument "ready" whether it takes requests.
// It is a probe for images without a shell.
func healthcheck(ctx context.Context, c *Config, args []string) error {
	path := "/livez"
	switch {
	case len(args) == 1 && args[0] == "ready":
		path = "/readyz"
	case len(args) > 0:
		return &ExitError{exitConfig, `healthcheck takes no argument but "ready"`}
	}
	listener := c.AdminListen
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
func reachable(l Listener) string {
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
