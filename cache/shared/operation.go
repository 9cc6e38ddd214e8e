package shared

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// do makes one operation within the timeout and reports it to the breaker. A nil
// reply is no failure, and a context that the caller cancelled is none either.
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
	failed := err != nil && !errors.Is(err, redis.Nil)
	cause := redisCause(err)
	if failed {
		s.health.record(operation, cause)
	} else {
		s.health.record(operation, "")
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
		s.reloadCluster(ctx)
		return err
	}
	return nil
}

var errSkipped = errors.New("redis is left alone for a while")

// reloadCluster has the client of a cluster ask anew which node serves what, in the
// background: the failure may be that of a node which another has replaced. By
// itself go-redis asks a node for that only if it answers, or every 10 s.
func (s *Store) reloadCluster(ctx context.Context) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}
