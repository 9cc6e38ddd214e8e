package cache

import (
	"testing"
	"time"

	"token-sidecar/upstream"
)

// TestEitherClockEndsALife moves the clocks against each other: the wall
// clock is set, or the monotonic one stood still in a suspended machine.
//
// Case C11.
func TestEitherClockEndsALife(t *testing.T) {
	start := instant{wall: time.Now().Truncate(time.Microsecond).UnixNano(), mono: int64(time.Hour)}
	issued := time.Unix(0, start.wall)
	token, err := upstream.NewToken("t", "", issued, issued.Add(10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	h := newIssuedToken(token, start, start, 0.2)
	at := func(wall, mono time.Duration) instant {
		return instant{start.wall + int64(wall), start.mono + int64(mono)}
	}
	for name, c := range map[string]struct {
		now            instant
		stale, invalid bool
	}{
		"at once":              {at(0, 0), false, false},
		"in the last fifth":    {at(9*time.Minute, 9*time.Minute), true, false},
		"at the end":           {at(10*time.Minute, 10*time.Minute), true, true},
		"wall clock set ahead": {at(time.Hour, time.Second), true, true},
		"wall clock set back":  {at(-time.Hour, time.Minute), false, false},
		"set back, and over":   {at(-time.Hour, 10*time.Minute), true, true},
		"suspended":            {at(10*time.Minute, 0), true, true},
		"before the margin":    {at(10*time.Minute-maxSkew-1, 0), true, false},
		"within the margin":    {at(10*time.Minute-maxSkew, 0), true, true},
	} {
		if stale, invalid := h.staleAt.reached(c.now), h.invalidAt.reached(c.now); stale != c.stale || invalid != c.invalid {
			t.Errorf("%s: stale %v, invalid %v; want %v, %v", name, stale, invalid, c.stale, c.invalid)
		}
	}
}

// TestMarginOfShortLives takes no more than a tenth of a life.
func TestMarginOfShortLives(t *testing.T) {
	for life, margin := range map[time.Duration]time.Duration{
		time.Second: 100 * time.Millisecond, 10 * time.Second: time.Second, time.Minute: maxSkew, 24 * time.Hour: maxSkew,
	} {
		h := newCachedToken(upstream.Token{}, life, life, instant{}, 0.2)
		if got := life - h.invalidAt.until(instant{}); got != margin {
			t.Errorf("of a life of %s the last %s are not used, want %s", life, got, margin)
		}
	}
}

// TestStaleBeforeInvalid has tokens replaced so late that their margin begins first: a
// look-up that finds a fresh token asks for no more, and so it must not be fresh then.
func TestStaleBeforeInvalid(t *testing.T) {
	for _, ahead := range []float64{0.001, 0.01, 0.2, 0.9} {
		for _, life := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 24 * time.Hour} {
			h := newCachedToken(upstream.Token{}, life, life, instant{}, ahead)
			if stale, invalid := h.staleAt.until(instant{}), h.invalidAt.until(instant{}); stale > invalid {
				t.Errorf("ahead %v of %s: stale after %s and not used after %s", ahead, life, stale, invalid)
			}
		}
	}
}
