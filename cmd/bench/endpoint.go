package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// endpointScope is the scope that the token endpoint grants, and that is asked for.
const endpointScope = "bench"

// What a load of a token is measured with, in each way.
const (
	// loadWorkers is how many loads are under way at a time.
	loadWorkers = 16
	// loadTimeout bounds one operation of Redis. It is longer than by default, so that a
	// busy machine does not make one load into another.
	loadTimeout = 5 * time.Second

	loadClient, loadSecret = "bench", "a-secret-of-the-usual-length-0123456789"
)

// runEndpoint is a token endpoint at listen that gives everybody a token of 1 KiB for an
// hour, until ctx ends. It looks at nothing, so that it does not hold up what is measured.
func runEndpoint(ctx context.Context, listen string) error {
	var serial atomic.Int64
	server := &http.Server{
		Addr:              listen,
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // or the connection could not be kept
			body := fmt.Appendf(nil, `{"access_token":"%0*d","token_type":"Bearer","expires_in":3600,"scope":"%s"}`,
				tokenBytes, serial.Add(1), endpointScope)
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
