package shared

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how Redis does, as far as operations have shown. It holds no token and no name.
type Status struct {
	Asked bool      // whether any operation has ended, well or not, since the start
	Since time.Time // when Redis was given up on; zero while it is in use
	Cause string    // why, by the code of a Redis error, a proxy error type of RFC 9209 section 2.3, or reply_too_large

	// Working means three things: Begin has ended, an operation has succeeded, and there
	// is no operation that Redis refused for good when it was asked last, such as for want
	// of a right. If Working is false although Redis is in use, Cause says why; it is empty
	// as long as nothing is known.
	Working bool
	// Missing are the rights that the user was found to lack when all were tried last,
	// separated by spaces.
	Missing string
}

// Status returns how the tokens in Redis do. It does not ask Redis and does not
// block.
func (s *Store) Status() Status {
	s.breaker.mu.Lock()
	defer s.breaker.mu.Unlock()
	if s.breaker.until.IsZero() {
		return s.health.status(Status{Asked: s.breaker.asked})
	}
	return Status{Asked: true, Since: s.breaker.since, Cause: s.breaker.cause}
}

// health is what the operations have told about Redis beside what the breaker goes
// by: single operations may fail for good between others that do not. The zero
// value knows nothing.
type health struct {
	mu      sync.Mutex        // guards all below
	begun   bool              // Begin has ended
	known   bool              // Redis has answered a try
	worked  bool              // an operation succeeded
	refused map[string]string // operations that Redis refused when they were made last, and the code
	cause   string            // of the last operation that failed, empty if it did not
	missing string            // rights that the last try found missing
	tried   time.Time         // when that was
}

// tryOperation stands in health.refused for the try at the start, and those after it.
const tryOperation = "try"

// timeOperation stands in health.refused for questions for the time of Redis.
const timeOperation = "time"

// recordTime remembers whether Redis told its time to a budget, which needs it.
func (h *health) recordTime(told bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if told {
		delete(h.refused, timeOperation)
		return
	}
	h.addRefusal(timeOperation, "NOPERM")
	if h.refused[tryOperation] == "" {
		h.missing = timeRight
	}
}

// lastingRefusals are codes that do not go away by themselves.
var lastingRefusals = []string{"NOAUTH", "WRONGPASS", "NOPERM", "READONLY", "OOM", "MISCONF"}

// readOnly are those of a Redis that takes no writes.
var readOnly = []string{"READONLY", "OOM", "MISCONF"}

// reading are operations that may succeed without writing anything.
var reading = []string{"get", "acquire"}

// record remembers how an operation went; cause is empty if it succeeded.
func (h *health) record(operation, cause string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause = cause
	if cause != "" {
		h.addRefusal(operation, cause)
		return
	}
	h.worked = true
	for other, cause := range h.refused {
		switch {
		case slices.Contains(readOnly, cause):
		case other == operation, cause == "NOAUTH" || cause == "WRONGPASS": // who is let in is not refused so
			delete(h.refused, other)
		}
	}
	if !slices.Contains(reading, operation) {
		h.forgetReadOnly()
	}
}

// wrote remembers that Redis took a write.
func (h *health) wrote() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.forgetReadOnly()
}

// forgetReadOnly forgets that Redis takes no writes. h.mu is held.
func (h *health) forgetReadOnly() {
	maps.DeleteFunc(h.refused, func(_, cause string) bool { return slices.Contains(readOnly, cause) })
}

// tryPause is how long after a try there is no other one.
const tryPause = 10 * time.Second

// beginTry reports whether another try is due: none has had an answer, or an operation was refused,
// and the last is some time ago. That operation may not be made again for long, and no other one
// tells whether it would be refused now. If a try is due, it counts as made.
func (h *health) beginTry() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun || h.known && len(h.refused) == 0 || time.Since(h.tried) < tryPause {
		return false
	}
	h.tried = time.Now()
	return true
}

// addRefusal remembers that Redis refused an operation for good. h.mu is held.
func (h *health) addRefusal(operation, cause string) {
	if !slices.Contains(lastingRefusals, cause) {
		return
	}
	if h.refused == nil {
		h.refused = map[string]string{}
	}
	h.refused[operation] = cause
}

// started remembers that Begin has ended.
func (h *health) started() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = true
}

// recordTry remembers what came of a try. One that had no answer says nothing of rights.
func (h *health) recordTry(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried = time.Now()
	var failed *TryError
	if errors.As(err, &failed) {
		h.known = h.known || failed.Answered
		if slices.Contains(lastingRefusals, failed.Cause) {
			h.addRefusal(tryOperation, failed.Cause)
			h.missing = strings.Join(failed.Missing, " ")
		}
		return
	}
	h.worked, h.known = true, true
	clear(h.refused) // all rights are there
}

// status adds to s what is known, for a Redis that is not left alone.
func (h *health) status(s Status) Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, code := range lastingRefusals {
		for operation, cause := range h.refused {
			if cause != code {
				continue
			}
			s.Cause = cause
			if operation == tryOperation || operation == timeOperation {
				s.Missing = h.missing
			}
		}
		if s.Cause != "" {
			return s
		}
	}
	if s.Working = h.begun && h.worked; !h.worked {
		s.Cause = h.cause
	}
	return s
}
