package config

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// helpWidth is the number of columns that the help text keeps to.
const helpWidth = 100

// AboutFiles says what the marks of settings mean.
const AboutFiles = `A variable X marked [file] may come from the file that X_FILE names instead (at most 64 KiB, one
line break at its end is dropped); of one marked [file, rotates] a change of the file takes effect
while running, of others after a restart.
`

// WriteHelp writes every setting, made from the tags of Config: of all groups, or of those whose
// heading has the word topic, in any case; and AboutFiles. It reports false if there is none.
func WriteHelp(w io.Writer, topic string) (found bool, err error) {
	out := bufio.NewWriter(w)
	group := ""
	for _, s := range sampleSettings() {
		if topic != "all" && !strings.Contains(strings.ToLower(s.group), strings.ToLower(topic)) {
			continue
		}
		if s.group != group {
			if group != "" {
				fmt.Fprintln(out)
			}
			group = s.group
			fmt.Fprintln(out, group)
		}
		mark := map[string]string{"rotates": " [file, rotates]", "start": " [file]"}[s.tag("file")]
		fmt.Fprintln(out, "  "+s.name+mark)
		text := s.tag("help")
		if fallback := s.fallback(); fallback != "" {
			text += " Default: " + fallback + "."
		}
		Wrap(out, text, "      ")
	}
	if group != "" {
		fmt.Fprint(out, "\n"+AboutFiles)
	}
	return group != "", out.Flush()
}

// HelpTopics returns the headings of the groups of settings, in their order.
func HelpTopics() []string {
	var topics []string
	for _, s := range sampleSettings() {
		if !slices.Contains(topics, s.group) {
			topics = append(topics, s.group)
		}
	}
	return topics
}

// fallback returns the default as people read it.
func (s setting) fallback() string {
	text := cmp.Or(s.tag("shown"), s.tag("envDefault"))
	if name, value, ok := strings.Cut(s.tag("when"), "="); ok {
		if value == "true" {
			value = name
		}
		text = cmp.Or(text, "none") + ", " + value + " " + cmp.Or(s.tag("then"), "none")
	}
	return text
}

// Wrap writes text in lines of at most helpWidth columns, as all text for people is.
func Wrap(w io.Writer, text, indent string) {
	line := indent
	for _, word := range strings.Fields(text) {
		if line != indent && len(line)+1+len(word) > helpWidth {
			fmt.Fprintln(w, line)
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(w, line)
}
