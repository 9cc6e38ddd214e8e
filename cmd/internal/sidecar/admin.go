package sidecar

import (
	"io"
	"net/http"

	"token-sidecar/proxy"
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
	mux.Handle("GET /{$}", s.status)
	hosts := proxy.NewHosts(s.config.AllowedHosts, s.config.Expose != "false")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		switch site := r.Header.Get("Sec-Fetch-Site"); {
		case !hosts.AllowedIn(r):
			plain(w, http.StatusForbidden, "this Host is not served; see SIDECAR_ALLOWED_HOSTS")
		case r.Header.Get("Origin") != "", site != "" && site != "none" && site != "same-origin":
			plain(w, http.StatusForbidden, "requests from other sites are not served")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// plain answers with a line of text.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}
