package soak

import (
	"os"
	"testing"

	"token-sidecar/cmd/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, 8)) }
