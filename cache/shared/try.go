package shared

import (
	"context"
	"crypto/rand"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"

	"token-sidecar/upstream"
)

// TryError says why Redis cannot be used, in words from fixed sets.
type TryError struct {
	// Cause is the code of a Redis error, or a proxy error type of RFC 9209
	// section 2.3 where no answer came.
	Cause string
	// Missing are the rights that the user lacks, where Cause is NOPERM: commands in
	// lower case, or ~token-sidecar:*, the right to the names. Empty if they are
	// not known.
	Missing []string
	// Answered is whether Redis answered at all.
	Answered bool
}

func (e *TryError) Error() string {
	text := "redis cannot be used: " + e.Cause
	if len(e.Missing) > 0 {
		text += ", missing right: " + strings.Join(e.Missing, ", ")
	}
	return text
}

// keysRight is the right to the names of all that is stored.
const keysRight = "~token-sidecar:*"

// probes are the commands that the operations of a Store consist of, inside and
// outside of scripts: each begins with the right that it needs. The first stores a value
// that ends in two seconds.
func probes(name string) []Command {
	return []Command{
		{"set", name, "try", "ex", int64(LeaseTime / time.Second), "nx"},
		{"get", name},
		{"getrange", name, 0, 1},
		{"pttl", name},
		{"pexpire", name, LeaseTime.Milliseconds()},
		{"evalsha", tryScript.hash, 1, name},
		{"eval", tryScript.text, 1, name},
		{"del", name},
		{timeRight},
	}
}

// timeRight is needed for budgets alone. Without it, replicas do not date what they share
// by one clock.
const timeRight = "time"

// tryScript calls nothing, so that it fails only if no script may be run.
var tryScript = newScript("return #KEYS")

// Try connects to Redis and runs every command that the Store needs, on a name of
// its own that it chooses at random and removes again; where it may not remove it,
// that ends after two seconds. It asks Redis even while that is left alone after
// failures, and counts no operation. It blocks until ctx ends or for the timeout of
// an operation per command. The error is a *TryError.
func (s *Store) Try(ctx context.Context) error {
	var nobody upstream.Fingerprint
	_, _ = rand.Read(nobody[:])
	name := s.Place(nobody, upstream.Key{}).lease
	missing := &TryError{Cause: "NOPERM", Answered: true}
	for _, probe := range probes(name) {
		sent := probe[0].(string)
		if sent == timeRight && !s.budgets {
			continue
		}
		err := s.probe(ctx, probe)
		if err == nil {
			continue
		}
		var answer ReplyError
		cause, answered := redisCause(err), errors.As(err, &answer)
		if cause != "NOPERM" {
			return &TryError{Cause: cause, Answered: answered}
		}
		right, all := missingRight(err, sent)
		if all {
			return &TryError{Cause: cause, Missing: []string{right}, Answered: true}
		}
		missing.Missing = append(missing.Missing, right)
	}
	if len(missing.Missing) > 0 {
		return missing
	}
	return nil
}

// probe makes one of the probes. A script that may be run, and that nobody has sent yet, is
// no failure.
func (s *Store) probe(ctx context.Context, probe Command) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.client.Do(ctx, probe)[0].Err; !isUnknown(err) {
		return err
	}
	return nil
}

var (
	refusedCommand = regexp.MustCompile(`'([a-z|-]+)' command`)
	refusedKey     = regexp.MustCompile(`permissions? to access (a|one of the) keys?`) // versions differ
)

// missingRight reads from a NOPERM which right is missing, by default that to the
// command that was sent: a new connection may have been refused another one, such
// as SELECT, and then every command is refused. Only known rights are repeated.
func missingRight(err error, sent string) (right string, all bool) {
	text := strings.ToLower(err.Error())
	if refusedKey.MatchString(text) {
		return keysRight, true
	}
	if m := refusedCommand.FindStringSubmatch(text); m != nil && slices.Contains([]string{"select", "cluster|slots", "cluster"}, m[1]) {
		return m[1], true
	}
	return sent, false
}

// Begin finds out at the start of the program how Redis does, so that what is told
// of it is true before the first token is needed, and so that this need not make
// the first connection. It asks like any operation, which is counted and which
// the breaker is told of, until Redis answers or is left alone; if it answers, Begin does
// what Try does. It blocks for some seconds at most, or until ctx ends.
func (s *Store) Begin(ctx context.Context) {
	var nobody upstream.Fingerprint
	_, _ = rand.Read(nobody[:])
	place := s.Place(nobody, upstream.Key{})
	defer s.health.started()
	s.scripts.connect(ctx)
	for range failuresToOpen {
		_, err := s.Get(ctx, place)
		if err == nil {
			// And the time of Redis is known, which without budgets is no condition.
			if _, err := s.Look(ctx, place, Version{}, Want{}); err == nil && s.clock.ahead() == 0 && !s.budgets {
				s.log.Warn().Msg("the user of redis may not ask for TIME; the clocks of all replicas must agree")
			}
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && redisCause(err) != "NOPERM" {
			continue
		}
		err = s.Try(ctx)
		if ctx.Err() == nil {
			s.health.recordTry(err)
			if err != nil {
				s.log.Warn().Err(err).Msg("redis cannot be used as it is set up")
			}
		}
		return
	}
}

// tryAgain does in the background what Try does, if that is due. It does not block.
func (s *Store) tryAgain() {
	if !s.health.beginTry() {
		return
	}
	select {
	case s.scripts.other <- func() { s.health.recordTry(s.Try(s.scripts.ctx)) }:
	default:
	}
}
