// Command token-sidecar forwards an app's plain HTTP requests to APIs behind
// OAuth tokens. See token-sidecar --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"token-sidecar/cmd/internal/sidecar"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "dev"

func main() {
	// net/http writes what a peer sends unasked to the standard logger.
	log.SetOutput(io.Discard)
	if os.Getenv("GOGC") == "" {
		// The heap is a few megabytes: collecting it half as often costs as many,
		// and saves an eighth of the time of a request.
		debug.SetGCPercent(200)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := sidecar.Program{Version: version}.Run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	if err == nil {
		return
	}
	code := 1
	var exit *sidecar.ExitError
	if errors.As(err, &exit) {
		code = exit.Code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "token-sidecar:", text)
	}
	os.Exit(code)
}
