package shared

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"
)

// Get reads the token at p, and where a ring that is being rotated may have it,
// without a script. It returns the zero Found and no error if there is none, and an
// error if Redis failed or is left alone.
func (s *Store) Get(ctx context.Context, p Place) (Found, error) {
	return s.get(ctx, p, p.value, p.others)
}

// Rotating reports whether the ring has more than one key, so that a token may lie under
// another name. It does not ask Redis.
func (s *Store) Rotating() bool { return len(s.sealer.nameKeys) > 1 }

// GetUnderOtherKeys is Get for the names of the ring's other keys alone. It asks Redis only
// while the ring has more than one key.
func (s *Store) GetUnderOtherKeys(ctx context.Context, p Place) (Found, error) {
	if len(p.others) == 0 {
		return Found{}, nil
	}
	return s.get(ctx, p, p.others[0], p.others[1:])
}

func (s *Store) get(ctx context.Context, p Place, first string, others []string) (Found, error) {
	names := append([]string{first}, others...)
	var commands []Command
	for _, name := range names {
		// GETRANGE, so that a huge value is never read whole.
		commands = append(commands, Command{"getrange", name, 0, maxSealed}, Command{"pttl", name})
	}
	var replies []Reply
	wrongType := false
	began := time.Now()
	err := s.do(ctx, "get", func(ctx context.Context) (err error) {
		replies = s.client.Do(ctx, commands...)
		for _, r := range replies {
			err = cmp.Or(err, r.Err)
		}
		if wrongType = err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE"); wrongType {
			return nil // Redis works: somebody else put this there
		}
		return err
	})
	if err != nil {
		return Found{}, err
	}
	if wrongType {
		s.metrics.RedisOperation("get", "invalid") // the next token that is stored replaces it
	}
	now := s.clock.learn(time.Time{}, began)
	for i := range names {
		if value, _ := replies[2*i].Value.(string); value != "" {
			left, _ := replies[2*i+1].Value.(int64)
			if f := s.read("get", p, value, time.Duration(left)*time.Millisecond, now, time.Since(began)); !f.Token.IsZero() {
				return f, nil
			}
		}
	}
	s.metrics.RedisOperation("get", "miss")
	return Found{}, nil
}

// Add shares a token that was fetched without a lease, unless there is a value at
// p already that is not the one known. The value ends in Redis when the token
// expires. What goes wrong is logged and counted here, and there is nothing for the
// caller to do about it.
func (s *Store) Add(ctx context.Context, p Place, t Sealed, known Version) {
	left := time.Until(t.expiry)
	if left < time.Millisecond {
		return
	}
	err := s.do(ctx, "add", func(ctx context.Context) error {
		reply := s.scripts.run(ctx, storeScript, p.names(), "", t.value, left.Milliseconds(), maxSealed, known.hex())
		if errors.Is(reply.Err, ErrNoScripts) {
			reply = s.client.Do(ctx, Command{"set", p.value, t.value, "px", left.Milliseconds(), "nx"})[0]
		}
		return reply.Err
	})
	if err == nil {
		s.metrics.RedisOperation("add", "ok")
	}
}
