package interop

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// startTarget starts an API that answers with the name that whose gives for the token of a
// request, and with 401 if it gives none. It returns its URL.
func startTarget(t *testing.T, whose func(token string) string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		name := whose(token)
		if name == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, name)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
