package config

import (
	"path/filepath"
	"regexp"
)

// auditStdout is the value of Config.Audit that names no file.
const auditStdout = "stdout"

// AuditPath returns the path of the file of the audit, "" if its lines go to stdout.
func (c *Config) AuditPath() string {
	if c.Audit == auditStdout {
		return ""
	}
	return c.Audit
}

// auditPathFlaw checks where the lines of the audit go.
func auditPathFlaw(s string) *flaw {
	switch {
	case s == auditStdout:
		return nil
	case !filepath.IsAbs(s):
		return flawf("write stdout, or the path of a file from / on", "is neither stdout nor an absolute path")
	}
	return inDirectory(s)
}

// auditKeyFlaw checks the key of pseudonyms, which is a ring of one.
func auditKeyFlaw(s string) *flaw {
	ring, flaw := parseKeyRing(s)
	if flaw == nil && len(ring) != 1 {
		flaw = flawf("give the one that is in use; the old one is needed only to look pseudonyms up", "has several keys")
	}
	return flaw
}

// purposeWord is the form of a purpose.
var purposeWord = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// wordsFlaw checks a list of purposes.
func wordsFlaw(s string) *flaw {
	items, flaw := parseList(s)
	for i, item := range items {
		if !purposeWord.MatchString(item) {
			return flawf("use up to 64 letters, digits, dots, colons, dashes and underscores", "holds no word in item %d", i+1)
		}
	}
	return flaw
}
