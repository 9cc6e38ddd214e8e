package sidecar

import (
	"crypto/tls"
	"sync/atomic"

	"token-sidecar/cmd/internal/config"
)

// servedTLS is how apps are served over TLS: by the certificate, key and client roots that
// the settings hold at the start of each handshake. Where these do not belong together, as
// while one of two files is replaced, it is by the last ones that did. It is safe for
// concurrent use.
type servedTLS struct {
	settings *config.Config
	latest   atomic.Pointer[readTLS]
}

// readTLS is what the settings held when they were read last, and how apps are served since.
type readTLS struct {
	texts [3]string // of certificate, key and client roots
	inUse *tls.Config
}

// newServedTLS returns nil if apps are served in clear.
func newServedTLS(settings *config.Config) (*servedTLS, error) {
	t := &servedTLS{settings: settings}
	texts := t.texts()
	first, err := settings.ServerTLS()
	if first == nil || err != nil {
		return nil, err
	}
	t.latest.Store(&readTLS{texts, first})
	return t, nil
}

// texts returns what the settings hold now.
func (t *servedTLS) texts() [3]string {
	return [3]string{t.settings.TLSCert.Reveal(), t.settings.TLSKey.Reveal(), t.settings.TLSClientCA.Reveal()}
}

// config returns a configuration by which each handshake uses what is current at its start.
func (t *servedTLS) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current(), nil },
	}
}

// current returns how apps are served now.
func (t *servedTLS) current() *tls.Config {
	latest, texts := t.latest.Load(), t.texts()
	if latest.texts == texts {
		return latest.inUse
	}
	next := &readTLS{texts, latest.inUse}
	if read, err := t.settings.ServerTLS(); err == nil {
		next.inUse = read
	}
	t.latest.Store(next)
	return next.inUse
}
