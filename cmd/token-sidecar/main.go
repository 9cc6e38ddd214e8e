// Command token-sidecar forwards an app's plain HTTP requests to APIs behind
// OAuth tokens. See token-sidecar --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"token-sidecar/cmd/internal/sidecar"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "dev"

func main() {
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
