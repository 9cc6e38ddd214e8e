package shared

import (
	"crypto/sha1"
	"encoding/hex"
	"time"

	"token-sidecar/upstream"
)

// Version tells a value at a place from the values before and after it. The zero
// Version is that of no value. It is the one hash that a script of Redis can compute,
// and nothing depends on its being hard to forge: a version proves nothing.
type Version [sha1.Size]byte

func versionOf(value string) Version { return sha1.Sum([]byte(value)) }

// hex is the form in which Redis computes it.
func (v Version) hex() string {
	if v == (Version{}) {
		return ""
	}
	return hex.EncodeToString(v[:])
}

// Found is what was found in a place. The zero Found is nothing: there was no
// value, or none but the known one.
type Found struct {
	Token   upstream.Token // zero if no replica stored the value, or if it has expired
	Life    time.Duration  // from the token's issue to its expiry
	Left    time.Duration  // until its expiry or the end in Redis, whichever comes first
	Version Version        // of the value, whether it is of use or not
}

// read opens the value that was found at p at the time now of Redis, which says
// that it ends in ttl. No replica stored a value that does not open, or that has no end:
// it counts as invalid. What has passed since the question, at most took, is not
// left any more.
func (s *Store) read(operation string, p Place, value string, ttl time.Duration, now time.Time, took time.Duration) Found {
	f := Found{Version: versionOf(value)}
	token, err := s.sealer.open(p, []byte(value))
	if err != nil || ttl <= 0 {
		s.metrics.RedisOperation(operation, "invalid")
		return f
	}
	life := token.expiry.Sub(token.issued)
	left := min(token.expiry.Sub(now), ttl, life) - took
	if left <= 0 {
		s.metrics.RedisOperation(operation, "miss")
		return f
	}
	// By our own clock from here on.
	local := time.Now()
	begin := local.Add(-max(now.Sub(token.issued), 0))
	if f.Token, err = upstream.NewToken(token.access, token.scope, begin, local.Add(left)); err != nil {
		s.metrics.RedisOperation(operation, "invalid")
		return f
	}
	f.Life, f.Left = life, left
	s.metrics.RedisOperation(operation, "ok")
	return f
}

// Sealed is a token in the form in which it is shared.
type Sealed struct {
	Version Version // of the value
	value   string
	expiry  time.Time // by our own clock
}

// Seal returns t as it is to be shared at p. It does not ask Redis.
func (s *Store) Seal(p Place, t upstream.Token) Sealed {
	ahead := s.clock.ahead()
	value := string(s.sealer.seal(p, plainValue{t.AccessToken(), t.Scope(), t.Issued().Add(ahead), t.Expiry().Add(ahead)}))
	return Sealed{versionOf(value), value, t.Expiry()}
}
