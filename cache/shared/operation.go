package shared

import (
	"context"
	"errors"
)

// do makes one operation within the timeout and reports it to the breaker. A context
// that the caller cancelled is no failure.
func (s *Store) do(caller context.Context, operation string, f func(context.Context) error) error {
	began, ok := s.breaker.allow()
	if !ok {
		s.metrics.RedisOperation(operation, "skipped")
		return errSkipped
	}
	defer s.breaker.giveUp(began) // does nothing if report was called
	ctx, cancel := context.WithTimeout(caller, s.timeout)
	defer cancel()
	err := f(ctx)
	if err != nil && errors.Is(caller.Err(), context.Canceled) {
		return err
	}
	if errors.Is(err, ErrNoScripts) {
		// Redis works, and was asked for what its user may not do.
		s.metrics.RedisOperation(operation, "error")
		s.health.record(operation, "NOPERM")
		s.telling.Do(func() {
			s.log.Warn().Str("cause", "NOPERM").Msg("the user of redis may not run scripts; replicas do not agree on who fetches a token")
		})
		return err
	}
	failed := err != nil
	cause := redisCause(err)
	if failed {
		s.health.record(operation, cause)
	} else {
		s.health.record(operation, "")
		s.tryAgain()
	}
	switch changed := s.breaker.report(began, !failed, cause); {
	case changed && failed:
		s.log.Warn().Str("cause", cause).Msg("redis fails; tokens are not shared for now")
	case changed:
		s.log.Info().Msg("redis works again")
	case failed: // alone among successes, as when Redis can be read but not written
		s.telling.Do(func() {
			s.log.Warn().Str("operation", operation).Str("cause", cause).Msg("a redis operation failed")
		})
	}
	if failed {
		s.metrics.RedisOperation(operation, "error")
		// The failure may be that of a node which another has replaced.
		s.client.Reload()
	}
	return err
}

var errSkipped = errors.New("redis is left alone for a while")
