package config

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// writeSettingsTable writes the settings as the Markdown table of
// docs/settings.md, made from the tags of Config.
func writeSettingsTable(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, "| variable | default | file | meaning |\n|---|---|---|---|\n")
	group := ""
	for _, s := range sampleSettings() {
		if s.group != group {
			group = s.group
			fmt.Fprintf(out, "| **%s** | | | |\n", group)
		}
		fallback := s.fallback()
		if fallback != "" && fallback == s.tag("envDefault") {
			fallback = "`" + fallback + "`"
		}
		file := map[string]string{"rotates": "rotates", "start": "at start"}[s.tag("file")]
		fmt.Fprintf(out, "| `%s` | %s | %s | %s |\n", s.name, cell(fallback), file, cell(s.tag("help")))
	}
	return out.Flush()
}

// cell escapes what ends a cell or starts a tag.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", `\`, `\\`).Replace(text)
}
