package sidecar

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/proxy"
)

// pseudonyms prints the pseudonym of each subject that a line of stdin names. Of the settings it
// needs SIDECAR_AUDIT_KEY alone, so that an old key can be asked, too.
func pseudonyms(environ []string, stdin io.Reader, stdout io.Writer) error {
	text, err := config.AuditKeyOf(environ)
	if err != nil {
		return exitOf(err)
	}
	key, err := proxy.ParsePseudonymKey(text)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(stdout)
	subjects := bufio.NewScanner(stdin)
	for n := 1; subjects.Scan(); n++ {
		switch subject := subjects.Text(); {
		case subject == "":
		case !utf8.ValidString(subject) || strings.TrimSpace(subject) != subject:
			return fmt.Errorf("line %d of stdin is no subject that a request can have: it has blanks around it, or is not UTF-8", n)
		default:
			_, _ = fmt.Fprintln(out, key.Pseudonym(subject))
		}
	}
	if subjects.Err() != nil {
		return fmt.Errorf("stdin cannot be read, or has a line of more than %d bytes", bufio.MaxScanTokenSize)
	}
	return out.Flush()
}
