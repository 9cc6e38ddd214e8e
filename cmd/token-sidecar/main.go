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

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/sidecar"
)

// version is set by the linker: -X main.version=1.2.3.
var version = "dev"

// main runs the program and exits with the code that it asks for.
func main() {
	// net/http writes what a peer sends unasked to the standard logger.
	log.SetOutput(io.Discard)
	if os.Getenv("GOGC") == "" {
		// The heap is a few megabytes: collecting it half as often costs as many,
		// and saves an eighth of the time of a request.
		debug.SetGCPercent(200)
	}
	err := sidecar.Program{Version: version, Stdin: os.Stdin, Redis: goredis.Driver{}}.Run(untilSignal(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
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

// untilSignal returns a context that ends at the first SIGTERM or interrupt. By then
// the next one has its default effect again, which is the end of the process: who
// signals twice does not want to wait for the requests under way. The goroutine lives
// as long as the process.
func untilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	return ctx
}
