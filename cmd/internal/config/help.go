package config

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
)

// helpWidth is the number of columns that the help text keeps to.
const helpWidth = 100

const usage = `token-sidecar puts OAuth tokens on an app's requests: it takes plain HTTP on loopback and
forwards it to the configured APIs with Authorization: Bearer set.

Usage: token-sidecar [command]

  serve        run the sidecar (default)
  check        print the effective configuration, secrets masked, and make one live token
               request per upstream
  healthcheck  ask a running sidecar whether it lives; healthcheck ready: whether it also
               takes requests
  jwks         print the JWK Set of the public keys of generic upstreams, the next ones included
  keygen       print a new key for SIDECAR_REDIS_KEYS
  pdx-connection-hash
               print the connection_token_hash that the body of a First Time Connection at
               Mydex PDX carries, made of SIDECAR_PDX_CONNECTION_TOKEN
  version      print the version

Settings are environment variables. All faults are reported at once. An upstream is on when
its credential is set. A variable X marked [file] may come from the file that X_FILE names
instead (at most 64 KiB, one line break at its end is dropped); of one marked
[file, rotates] a change of the file takes effect while running, of others after a restart.
`

// WriteHelp writes usage and every setting, made from the tags of Config.
func WriteHelp(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprint(out, usage)
	group := ""
	for _, s := range sampleSettings() {
		if s.group != group {
			group = s.group
			fmt.Fprintf(out, "\n%s\n", group)
		}
		mark := map[string]string{"rotates": " [file, rotates]", "start": " [file]"}[s.tag("file")]
		fmt.Fprintln(out, "  "+s.name+mark)
		text := s.tag("help")
		if fallback := s.fallback(); fallback != "" {
			text += " Default: " + fallback + "."
		}
		Wrap(out, text, "      ")
	}
	return out.Flush()
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
