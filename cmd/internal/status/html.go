package status

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"

	"token-sidecar/cmd/internal/config"
)

// markup is HTML from the source of this package. A constant converts to it by
// itself, a value at run time does not, so that no value is taken for HTML.
type markup string

// htmlText collects a page. html/template would do, but it calls methods by name,
// which keeps the linker from leaving out any: that costs 8 MB of the binary.
type htmlText struct{ strings.Builder }

// add writes format with each argument, escaped, in place of a {}. That is right
// in text and in quoted attributes, and arguments stand in no other place.
func (h *htmlText) add(format markup, args ...any) {
	rest := string(format)
	for _, arg := range args {
		before, after, _ := strings.Cut(rest, "{}")
		h.WriteString(before)
		h.WriteString(html.EscapeString(fmt.Sprint(arg)))
		rest = after
	}
	h.WriteString(rest)
}

// term writes a term of a list, and what tell writes as its description.
func (h *htmlText) term(name markup, tell func()) {
	h.add("<div><dt>" + name + "</dt><dd>")
	tell()
	h.add("</dd></div>\n")
}

// time writes a time: words for people, and the exact time for programs.
func (h *htmlText) time(t time.Time, words string) {
	h.add(`<time datetime="{}">{}</time>`, t.Format(time.RFC3339Nano), words)
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

// perTime writes a rate per second or per minute, as it may be set.
func perTime(perSecond float64) string {
	return strings.NewReplacer("/s", " per second", "/m", " per minute").Replace(config.Rate(perSecond).String())
}

// inSeconds writes a short duration with three decimals.
func inSeconds(seconds float64) string {
	if seconds < 0.001 {
		return "less than 1 ms"
	}
	return fmt.Sprint(math.Round(1000*seconds)/1000, " s")
}

// inWords writes a duration with its two greatest units.
func inWords(d time.Duration) string {
	s := int(d / time.Second)
	switch {
	case s < 1:
		return "less than 1 s"
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
}
