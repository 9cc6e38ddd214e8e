package upstream

import (
	"fmt"
	"io"
	"sync/atomic"
)

const redacted = "[redacted]"

// Secret holds a value that must never be printed: a client secret, a private
// key. Every verb of fmt and every encoder renders it as [redacted]; only
// Reveal returns the value. Copies share one value, so Replace on any copy is
// seen by all. The zero Secret is unset. All methods are safe for concurrent
// use, save UnmarshalText.
type Secret struct{ value *atomic.Pointer[string] }

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret {
	s := Secret{value: new(atomic.Pointer[string])}
	s.value.Store(&value)
	return s
}

// Reveal returns the current value, "" if the Secret is unset.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value.Load()
}

// Replace swaps the value, as when a mounted secret file was rotated. It
// panics on an unset Secret: there is nothing that copies could share.
func (s Secret) Replace(value string) { s.value.Store(&value) }

// IsSet reports whether the Secret holds a non-empty value.
func (s Secret) IsSet() bool { return s.Reveal() != "" }

// UnmarshalText sets the Secret to text. It must not run beside other methods.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}

// Format writes [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// MarshalText returns [redacted]; JSON and slog use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
