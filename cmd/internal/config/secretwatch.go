package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// ErrNeedsRestart is reported of a changed file whose setting is read at start only.
var ErrNeedsRestart = errors.New("the file has changed, which takes effect after a restart")

// secretFile ties a file to the setting that was read from it.
type secretFile struct {
	variable string // without _FILE
	path     string
	check    string             // rule for its text
	current  func() string      // value in use
	replace  func(value string) // nil if only a restart changes the value
}

// secretFiles lists the files that c was read from. They point into c.
func (l *loader) secretFiles(c *Config) []secretFile {
	var files []secretFile
	for _, s := range c.settings() {
		path, ok := l.files[s.name]
		if !ok {
			continue
		}
		file := secretFile{variable: s.name, path: path, check: s.tag("check"), current: s.value.String}
		if secret := s.secret(); secret != nil {
			file.current = secret.Reveal
			if s.tag("file") == "rotates" {
				file.replace = secret.Replace
			}
		}
		files = append(files, file)
	}
	return files
}

const (
	// settle is the time between a sign of change and reading, so that a file
	// that is truncated and then written is mostly read whole.
	settle = 100 * time.Millisecond
	// pollEvery is how often files are read without a sign of change: watches
	// miss network file systems and directories that were replaced.
	pollEvery = 30 * time.Second
)

// WatchSecrets re-reads the files that settings were read from whenever they
// change, and blocks until ctx ends. A new value that passes the same checks as
// at start is put into the Secret at once, for all its copies. One that does
// not pass leaves the old value in use.
//
// onChange is called from this goroutine, one call at a time: with the
// variable (without _FILE) and nil when a new value is in use or a faulty file
// is as good as before, and with an error, once for each new fault, when it is
// not. The error is a Fault, or ErrNeedsRestart, or says that changes are
// noticed only by polling; it never holds a value.
//
// The error returned is that of closing the watch.
func (c *Config) WatchSecrets(ctx context.Context, onChange func(variable string, err error)) error {
	return c.watchSecrets(ctx, onChange, pollEvery)
}

func (c *Config) watchSecrets(ctx context.Context, onChange func(string, error), every time.Duration) error {
	if len(c.files) == 0 {
		<-ctx.Done()
		return nil
	}
	w := &secretWatch{files: c.files, onChange: onChange, faults: make([]string, len(c.files))}
	var events <-chan fsnotify.Event
	var failures <-chan error
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		events, failures = watcher.Events, watcher.Errors
		w.add = watcher.Add
	} else {
		// A host may have run out of inotify instances: polling still works.
		w.add = func(string) error { return err }
	}
	poll := time.NewTicker(every)
	defer poll.Stop()
	w.watchDirectories()
	w.read() // what changed since Parse
	var due <-chan time.Time
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-events:
			if due == nil { // not put off by more events: a busy directory must not starve reading
				due = time.After(settle)
			}
		case <-failures: // events were lost
			due = time.After(settle)
		case <-due:
			due = nil
			w.read()
		case <-poll.C:
			w.watchDirectories() // a directory that was replaced lost its watch
			w.read()
		}
	}
	if watcher == nil {
		return nil
	}
	return watcher.Close()
}

// secretWatch is the state of one WatchSecrets, owned by its goroutine.
type secretWatch struct {
	files    []secretFile
	faults   []string // by file: last fault told
	told     bool     // that watching fails
	add      func(directory string) error
	onChange func(string, error)
}

// watchDirectories watches the directories of the files, not the files: a
// rename over the file or a swap of Kubernetes' ..data link leaves a watch on
// the file with what it was.
func (w *secretWatch) watchDirectories() {
	for _, file := range w.files {
		if err := w.add(filepath.Dir(file.path)); err != nil && !w.told {
			w.told = true
			w.onChange(file.variable, fmt.Errorf("%s_FILE cannot be watched and is read every %s instead", file.variable, pollEvery))
		}
	}
}

func (w *secretWatch) read() {
	for i, file := range w.files {
		changed, err := file.reload()
		switch {
		case err != nil && err.Error() != w.faults[i]:
			w.faults[i] = err.Error()
			w.onChange(file.variable, err)
		case err == nil && (changed || w.faults[i] != ""):
			w.faults[i] = ""
			w.onChange(file.variable, nil)
		}
	}
}

// reload puts the file's value in use if it is new and valid.
func (f secretFile) reload() (changed bool, err error) {
	value, flaw := readSecretFile(f.path)
	if flaw == nil {
		value, flaw = vetValue(f.check, value)
	}
	switch {
	case flaw != nil:
		return false, Fault{f.variable + "_FILE", flaw.problem, flaw.mend}
	case value == f.current():
		return false, nil
	case f.replace == nil:
		return false, fmt.Errorf("%s_FILE: %w", f.variable, ErrNeedsRestart)
	}
	f.replace(value)
	return true, nil
}
