package sidecar

import (
	"errors"
	"io"
	"net/http"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/upstream"
)

// printJWKS prints the JWK Set of the configured private keys.
func printJWKS(settings *config.Config, stdout io.Writer) error {
	set := upstream.JWKSet(settings.Upstreams(nil))
	if set == nil {
		return errors.New("jwks: no generic upstream has a PRIVATE_KEY")
	}
	_, err := stdout.Write(set)
	return err
}

// jwksHandler serves the JWK Set, and nothing else. Providers keep it for as long as
// Cache-Control says: a next key should be configured for longer than that before it is
// used.
func jwksHandler(all []upstream.Upstream) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case r.URL.Path != "/.well-known/jwks.json": // byte for byte: nothing is redirected
			plain(w, http.StatusNotFound, "no such path")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			plain(w, http.StatusMethodNotAllowed, "use GET")
		default:
			w.Header().Set("Content-Type", "application/jwk-set+json") // RFC 7517 section 8.5
			w.Header().Set("Cache-Control", "public, max-age=60")
			_, _ = w.Write(upstream.JWKSet(all))
		}
	})
}
