package proxy

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// AuditConfig configures an [Audit].
type AuditConfig struct {
	// Path is the absolute path of a file, which is made if it is not there. A file that took
	// its place is noticed within a second. Empty means that lines go to Out.
	Path string
	Out  io.Writer
	// Key makes pseudonyms, in the form that ParsePseudonymKey reads. It may change.
	Key upstream.Secret
	// Purposes are the words that X-Token-Purpose may have.
	Purposes []string
	// Metrics counts the lines, and Log is told when they cannot be written. Metrics is required.
	Metrics *metrics.Metrics
	Log     zerolog.Logger
}

// Audit writes who asked for what with a token of which subject: JSON, one object a line. Its
// methods are safe for concurrent use.
type Audit struct {
	lines    *auditWriter
	secret   upstream.Secret
	key      atomic.Pointer[auditKey] // what secret was when it was used last
	purposes []string
}

// auditKey is a key with the text that it was read from.
type auditKey struct {
	text string
	PseudonymKey
}

// NewAudit opens the file, and fails if that cannot be written to. The caller must Close the Audit.
func NewAudit(c AuditConfig) (*Audit, error) {
	a := &Audit{secret: c.Key, purposes: c.Purposes}
	if _, err := a.pseudonymKey(); err != nil {
		return nil, err
	}
	out := &auditOut{to: c.Out}
	if c.Path != "" {
		var err error
		if out, err = openAudit(c.Path); err != nil {
			return nil, err
		}
	}
	c.Metrics.ExpectAudit()
	a.lines = newAuditWriter(out, c.Metrics.AuditLines, c.Log)
	return a, nil
}

// Close writes the lines that wait, for a second at most, and closes the file.
func (a *Audit) Close() {
	if a != nil {
		a.lines.close()
	}
}

// Failing returns why the last line was not written: "timeout" if the disk or the reader stands
// still, or what the system says. It is empty if all is well.
func (a *Audit) Failing() string {
	if cause := a.lines.failing.Load(); cause != nil {
		return *cause
	}
	return ""
}

// pseudonymKey returns the key in use.
func (a *Audit) pseudonymKey() (PseudonymKey, error) {
	text := a.secret.Reveal()
	known := a.key.Load()
	if known != nil && known.text == text {
		return known.PseudonymKey, nil
	}
	key, err := ParsePseudonymKey(text)
	if err != nil {
		return PseudonymKey{}, err
	}
	if known != nil && known.ID == key.ID {
		a.lines.log.Warn().Str("key", key.ID).Msg("two keys of the audit have one id; their pseudonyms cannot be told apart")
	}
	a.key.Store(&auditKey{text, key})
	return key, nil
}

// purpose returns the word of X-Token-Purpose, "" if there is none. Without an audit nobody
// reads it.
func (a *Audit) purpose(h http.Header) (string, error) {
	if a == nil {
		return "", nil
	}
	word, err := single(h, purposeHeader, errPurpose)
	if err == nil && word != "" && !slices.Contains(a.purposes, word) {
		err = errPurpose
	}
	return word, err
}

// line is one line while it is made.
type line []byte

// Write takes the whole line, which zerolog writes at once.
func (l *line) Write(text []byte) (int, error) {
	*l = append(*l, text...)
	return len(text), nil
}

// newLine begins the line of an event of the exchange id, which ends in l.
func newLine(l *line, event string, id uint64) *zerolog.Event {
	log := zerolog.New(l)
	return log.Log().Str("time", time.Now().UTC().Format("2006-01-02T15:04:05.000000Z")).Str("event", event).
		Hex("id", binary.BigEndian.AppendUint64(nil, id))
}

// The events of lines.
const (
	eventSent     = "sent"      // the request goes to the target
	eventHandedOn = "handed_on" // the token goes to the app
	eventAnswered = "answered"  // the exchange has ended
)

// audit writes the line of an event for a request that has a subject, once, and returns when the
// kernel has it. If it fails, what the line tells of must not be done. It blocks for auditPatience
// at most.
func (x *exchange) audit(event string) error {
	a := x.proxy.config.Audit
	if a == nil || x.key.Subject == "" || x.auditID != 0 {
		return nil
	}
	key, err := a.pseudonymKey()
	if err != nil {
		return errAudit
	}
	id := max(1, rand.Uint64())
	var text line
	made := newLine(&text, event, id).Str("route", x.route.Name).Str("method", metrics.MethodLabel(x.in.Method))
	for _, member := range [...][2]string{{"allowed", x.allowedBy}, {"subject", key.Pseudonym(x.key.Subject)}, {"key", key.ID}, {"caller", x.caller},
		{"purpose", x.purpose}, {"trace_id", traceID(x.in.Header)}} {
		if member[1] != "" {
			made.Str(member[0], member[1])
		}
	}
	made.Send()
	err = a.lines.write(text)
	if err == nil || err == errOnItsWay { // the line is there or may come, so that another one says how it ended
		x.auditID = id
	}
	if err != nil {
		return errAudit
	}
	return nil
}

// auditEnd writes how an exchange ended that has a line already. Nobody waits for that.
func (x *exchange) auditEnd() {
	if x.auditID == 0 {
		return
	}
	var text line
	made := newLine(&text, eventAnswered, x.auditID).Int("status", x.out.status).Int64("millis", time.Since(x.began).Milliseconds())
	if x.problem != "" {
		made.Str("problem", x.problem)
	}
	made.Send()
	x.proxy.config.Audit.lines.note(text)
}
