package status

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"token-sidecar/cmd/internal/config"
)

// view is the report as a page.
type view struct {
	Report
	Paused bool // it does not load itself again
}

// summary returns the state of all upstreams in one line.
func (v view) summary() string {
	var failing, warned int
	for _, u := range v.Upstreams {
		switch u.Severity {
		case severityError:
			failing++
		case severityWarning:
			warned++
		}
	}
	all := len(v.Upstreams)
	switch {
	case v.Draining:
		return "Shutting down"
	case failing > 0 && warned > 0:
		return fmt.Sprintf("%d of %s in trouble, %d to watch", failing, plural(all, "upstream"), warned)
	case failing > 0:
		return fmt.Sprintf("%d of %s in trouble", failing, plural(all, "upstream"))
	case warned > 0:
		return fmt.Sprintf("%d of %s to watch", warned, plural(all, "upstream"))
	case v.Redis.State == "failing":
		return "Redis fails"
	case v.Redis.Severity == severityWarning:
		return "Redis is left alone"
	}
	return "All is well"
}

// color returns the colour of the page's icon, as in a URL.
func (v view) color() string {
	switch v.Severity {
	case severityError:
		return "c02626"
	case severityWarning:
		return "b7791f"
	}
	return "1f8a4c"
}

// symbol returns the mark of a severity, so that colour is not all that tells.
func symbol(s severity) string {
	switch s {
	case severityOK:
		return "✓"
	case severityWarning:
		return "!"
	case severityError:
		return "✕"
	}
	return "–"
}

// in says how far off a time is.
func (v view) in(t time.Time) string {
	if d := t.Sub(v.Time); d >= time.Second {
		return "in " + inWords(d)
	}
	return "now"
}

// left says how long it is until a time.
func (v view) left(t time.Time) string {
	if d := t.Sub(v.Time); d >= time.Second {
		return inWords(d)
	}
	return "less than 1 s"
}

// ago says how long ago a time was.
func (v view) ago(t time.Time) string {
	if d := v.Time.Sub(t); d >= time.Second {
		return inWords(d) + " ago"
	}
	return "just now"
}

// took writes how long something took.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than 1 ms"
	case d < 999500*time.Microsecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond)/time.Millisecond)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// perTime writes a rate as it may be set.
func perTime(perSecond float64) string {
	return strings.NewReplacer("/s", " per second", "/m", " per minute").Replace(config.Rate(perSecond).String())
}

// inWords writes a duration with its two greatest units.
func inWords(d time.Duration) string {
	s := int(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
}

// apart writes a number with its thousands apart.
func apart(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
