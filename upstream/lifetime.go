package upstream

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	maxLifetime = 24 * time.Hour // a longer one is cut: no provider issues one
	minLifetime = time.Second    // a shorter one could not be used
)

// lifetime returns how long the token lives. It reads expires_in, which is a number of
// seconds or a string that holds one. Where that is missing it reads expires_at (OCLC),
// by the provider's own clock if the answer has a Date. Where both are missing the life
// is fallback.
func (a answer) lifetime(fallback time.Duration) (time.Duration, error) {
	if a.has("expires_in") {
		return parseSeconds(a.members["expires_in"])
	}
	if !a.has("expires_at") {
		return min(fallback, maxLifetime), nil
	}
	at, err := time.Parse("2006-01-02 15:04:05Z07:00", a.text("expires_at"))
	if err != nil {
		return 0, errors.New("expires_at is not a time")
	}
	now := a.date
	if now.IsZero() {
		now = a.began
	}
	return boundLifetime(at.Sub(now).Seconds())
}

var errExpiresIn = errors.New("expires_in is not a number")

// parseSeconds reads a JSON number of seconds, which may be written as a string.
func parseSeconds(raw json.RawMessage) (time.Duration, error) {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		if json.Unmarshal(raw, &text) != nil {
			return 0, errExpiresIn
		}
	}
	// ParseFloat also takes hex, "inf" and "nan".
	if text == "" || strings.Trim(text, "0123456789+-.eE") != "" {
		return 0, errExpiresIn
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errExpiresIn
	}
	return boundLifetime(seconds)
}

// boundLifetime returns a life of so many seconds, if it is long enough to be used.
func boundLifetime(seconds float64) (time.Duration, error) {
	if math.IsNaN(seconds) || seconds < minLifetime.Seconds() {
		return 0, errors.New("the token's life is over as soon as it is issued")
	}
	if seconds >= maxLifetime.Seconds() {
		return maxLifetime, nil
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

// maxRetryAfter cuts what a provider may ask for: a slip of its clock must not
// keep us away for a day.
const maxRetryAfter = time.Hour

// retryAfter returns how long the provider asks to be left alone. It reads Retry-After
// (RFC 9110 section 10.2.3) or, where that is missing in a 429, the RateLimit-Reset that
// MyDataHelps documents, in seconds: that is in every answer, and asks for nothing in others.
// It returns 0 if neither is there or makes sense.
func retryAfter(status int, h http.Header, date time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" && status == http.StatusTooManyRequests {
		value = h.Get("RateLimit-Reset")
	}
	if at, err := http.ParseTime(value); err == nil {
		if date.IsZero() {
			date = time.Now()
		}
		return min(max(at.Sub(date), 0), maxRetryAfter)
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds < 0 {
		return 0
	}
	if seconds > int64(maxRetryAfter/time.Second) {
		return maxRetryAfter
	}
	return time.Duration(seconds) * time.Second
}

// skew returns how far the provider's clock is from ours. Its Date was written
// between the request and now, in whole seconds: what that explains is no skew.
func (a answer) skew(now time.Time) time.Duration {
	skew := a.date.Sub(a.began)
	if skew > 0 {
		skew = max(a.date.Sub(now), 0)
	}
	if a.date.IsZero() || skew.Abs() < 2*time.Second {
		return 0
	}
	return skew
}
