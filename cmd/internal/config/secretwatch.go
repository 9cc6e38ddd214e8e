package config

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrNeedsRestart is reported of a changed file whose setting is read at start only.
var ErrNeedsRestart = errors.New("the file has changed, which takes effect after a restart")

// pollEvery is how often the files of settings are read. Reading them again costs
// next to nothing, and sees every kind of change: of network file systems and of
// directories that were replaced too.
const pollEvery = time.Second

// WatchSecrets re-reads the files that settings were read from every second, and
// blocks until ctx ends. A new value that is the same for two seconds and passes
// the same checks as at start is put into the Secret, for all its copies. One that
// does not pass leaves the old value in use.
//
// onChange is called from this goroutine, one call at a time: with the
// variable (without _FILE) and nil when a new value is in use or a faulty file
// is as good as before, and with an error, once for each new fault, when it is
// not. A certificate whose key does not follow within a few seconds is a fault, too. The
// error is a Fault or ErrNeedsRestart; it never holds a value. notTaken is how many files and
// pairs have a value now that is not in use.
func (c *Config) WatchSecrets(ctx context.Context, onChange func(variable string, err error, notTaken int)) {
	c.watchSecrets(ctx, onChange, pollEvery)
}

// watchSecrets is WatchSecrets with another time between two readings.
func (c *Config) watchSecrets(ctx context.Context, onChange func(string, error, int), every time.Duration) {
	if len(c.files) == 0 {
		<-ctx.Done()
		return
	}
	pairs := c.pairs()
	notTaken := func() (n int) {
		for _, file := range c.files {
			if file.fault != "" {
				n++
			}
		}
		for _, pair := range pairs {
			if pair.faulty {
				n++
			}
		}
		return n
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	for {
		for _, file := range c.files {
			if changed, err := file.reload(); changed {
				onChange(file.variable, err, notTaken())
			}
		}
		for _, pair := range pairs {
			if changed, err := pair.look(); changed {
				onChange(pair.variable, err, notTaken())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
		}
	}
}

// secretFile is a file that a setting was read from. Once Parse has returned it
// belongs to the goroutine of WatchSecrets.
type secretFile struct {
	variable string // without _FILE
	path     string
	check    string       // name of the rule for its text
	inUse    string       // the text that was put in use last
	replace  func(string) // puts a text in use; nil if only a restart does

	last  string // the text that was read last
	fault string // the fault that was told last; empty: the file is good
}

// newSecretFile returns the file at path, from which s got the value text.
func newSecretFile(s setting, path, text string) *secretFile {
	file := &secretFile{variable: s.name, path: path, check: s.tag("check"), inUse: text, last: text}
	if s.tag("file") == "rotates" {
		file.replace = s.secret().Replace
	}
	return file
}

// reload reads the file and puts its value in use if it is new and valid. It reports
// whether there is something to tell: a new value, a new fault, or that an old
// fault is mended.
func (f *secretFile) reload() (changed bool, err error) {
	text, flaw := readSecretFile(f.path)
	if flaw == nil && text != f.last {
		f.last = text // a file that is just being written is left alone until it stays the same
		return false, nil
	}
	if flaw == nil {
		text, flaw = checkText(f.check, text)
	}
	switch {
	case flaw != nil:
		err = Fault{Variable: f.variable + "_FILE", Problem: flaw.problem, Mend: flaw.mend}
	case text == f.inUse:
		changed = f.fault != ""
	case f.replace == nil:
		err = fmt.Errorf("%s_FILE: %w", f.variable, ErrNeedsRestart)
	default:
		f.replace(text)
		f.inUse, changed = text, true
	}
	if err == nil {
		f.fault = ""
		return changed, nil
	}
	changed = err.Error() != f.fault
	f.fault = err.Error()
	return changed, err
}
