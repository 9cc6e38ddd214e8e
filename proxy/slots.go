package proxy

import (
	"context"
	"time"
)

// slots bounds how many exchanges with a target go on at a time: each is a value in the
// channel. Plain requests, uploads and upgraded connections have their own, so that
// those which take long leave room for the others.
type slots chan struct{}

const (
	maxRequests = 2048 // requests with no body, or with a small one that is here already
	maxUploads  = 256  // requests whose body is sent on as it comes
	maxUpgrades = 1024 // upgraded connections
	// slotWait is how long a request waits for its turn.
	slotWait = 2 * time.Second
)

// take takes a slot, which must be given back. It blocks for slotWait at most, or until
// ctx ends, and returns errBusy or the error of ctx then.
func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	wait := time.NewTimer(slotWait)
	defer wait.Stop()
	select {
	case s <- struct{}{}:
		return nil
	case <-wait.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give gives a slot back.
func (s slots) give() { <-s }
