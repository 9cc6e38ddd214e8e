// Package main_test runs the built binary as its users do: with an
// environment, signals and sockets, beside simulated providers.
package main_test

import (
	"os"
	"testing"

	"token-sidecar/cmd/internal/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m, false)) }
