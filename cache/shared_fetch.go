package cache

import (
	"context"

	"token-sidecar/cache/shared"
)

// fetchInTurn waits for the turn that came with the lease, and makes the token request.
func (s *sharedLoad) fetchInTurn(ctx context.Context, looked shared.Looked) (loadResult, error) {
	release := func(error) { looked.Lease.Release(s.c.afterwards()) }
	err := s.awaitTurn(ctx, looked.Turn)
	if err == errVoid {
		release(nil)
		return s.anotherTurn(ctx)
	}
	if err != nil {
		return loadResult{after: release}, err
	}
	return s.fetchLeased(ctx, looked.Lease)
}

// fetchLeased makes the token request under the lease, and renews it meanwhile. A renewal that
// is under way when the token comes delays nobody: what is done for other replicas waits for
// it, and not who waits for the token.
func (s *sharedLoad) fetchLeased(ctx context.Context, lease *shared.Lease) (loadResult, error) {
	renewing, stop := context.WithCancel(s.c.afterwards())
	defer stop()
	renewed := make(chan struct{})
	if !s.c.start(func() {
		defer close(renewed)
		lease.Renew(renewing)
	}) {
		close(renewed)
	}
	r, sealed, err := s.fetch(ctx)
	r.after = func(err error) {
		<-renewed
		switch cause := causeOf(err); {
		case err == nil && s.e.source.Fingerprint() == s.load.credential: // else it is of another place
			lease.Store(s.c.afterwards(), sealed)
		case cause != nil && decided(cause.Class) && s.replacesRejected():
			// The target refuses what is shared and the provider gives no other.
			lease.Forget(s.c.afterwards(), s.known)
		default:
			lease.Release(s.c.afterwards())
		}
		s.reportRecovery(err)
	}
	return r, err
}

// fetchWithoutLease makes the token request without a lease, if it may be made. After a wait in
// the request queue it looks again first. answered is whether Redis answered when it was
// asked last.
func (s *sharedLoad) fetchWithoutLease(ctx context.Context, answered bool) (loadResult, error) {
	if s.load.forbidden != nil {
		return loadResult{}, s.load.forbidden
	}
	if !s.passed {
		if err := s.awaitQueue(ctx); err != nil {
			return loadResult{}, err
		}
		if s.store.Available() {
			return s.run(ctx) // Redis may answer again, and others have the token by now
		}
	}
	if err := s.takeTurnWithoutLease(ctx, answered); err == errVoid {
		return s.anotherTurn(ctx)
	} else if err != nil {
		return loadResult{}, err
	}
	r, sealed, err := s.fetch(ctx)
	r.after = func(err error) {
		if err == nil && s.e.source.Fingerprint() == s.load.credential {
			s.store.Add(s.c.afterwards(), s.place, sealed, s.known)
		}
		s.reportRecovery(err)
	}
	return r, err
}

// fetch makes the token request, and seals the token as it is to be shared.
func (s *sharedLoad) fetch(ctx context.Context) (loadResult, shared.Sealed, error) {
	r, err := s.c.fetch(ctx, s.e)
	if err != nil {
		return r, shared.Sealed{}, err
	}
	sealed := s.store.Seal(s.place, r.token.token)
	r.token.version = sealed.Version
	return r, sealed, nil
}

// replacesRejected reports whether a target refused the token that the load is to replace.
func (s *sharedLoad) replacesRejected() bool {
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	return !s.load.rejected.IsZero()
}

// reportRecovery tells all replicas that the token endpoint works, if that was in doubt
// and err, with which the token request ended, shows it.
func (s *sharedLoad) reportRecovery(err error) {
	cause := causeOf(err)
	if works := err == nil || cause != nil && decided(cause.Class); s.probe && works {
		s.store.Recovered(s.c.afterwards(), s.e.source.budget.bucketOf(s.load.credential))
	}
}

// afterwards returns the context of what is done for the other replicas: it does not end
// with the cache, and each operation has its own deadline.
func (c *Cache) afterwards() context.Context { return context.WithoutCancel(c.ctx) }
