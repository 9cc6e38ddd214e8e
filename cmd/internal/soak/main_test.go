package soak

import (
	"os"
	"testing"

	"token-sidecar/cmd/internal/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Main(m, true)) }
