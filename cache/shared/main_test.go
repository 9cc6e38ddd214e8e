package shared_test

import (
	"testing"

	"go.uber.org/goleak"

	"token-sidecar/cache/shared"
	"token-sidecar/cache/shared/goredis"
)

// TestMain gives the tests the driver of the sidecar. They are in package shared, and cannot
// import it by themselves, since it imports that.
func TestMain(m *testing.M) {
	shared.Redis = goredis.Driver{}
	goleak.VerifyTestMain(m)
}
