package fleet

import (
	"context"
	"os"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m, 8)) }

// soaking reports whether the long tests are asked for.
func soaking() bool { return os.Getenv("SOAK") == "1" }

// soak returns the second value if the long tests are asked for.
func soak[T any](ordinary, long T) T {
	if soaking() {
		return long
	}
	return ordinary
}

// contextFor returns a context that ends after d, even in a test's cleanup.
func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(t.Context()), d)
}
