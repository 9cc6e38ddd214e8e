// Package main_test runs the built binary as its users do: with an
// environment, signals and sockets, beside simulated providers.
package main_test

import (
	"os"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, 8)) }
