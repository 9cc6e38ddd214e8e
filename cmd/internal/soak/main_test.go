package soak

import (
	"os"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, 8)) }

// soaking reports whether the long tests are asked for.
func soaking() bool { return os.Getenv("SOAK") == "1" }
