package sidecar

import (
	"context"
	"crypto/tls"
	"sync/atomic"
	"time"

	"token-sidecar/cmd/internal/config"
)

// servedTLS is how apps are served over TLS now. Its methods are safe for concurrent use, save
// watch, which runs once.
type servedTLS struct {
	settings *config.Config
	current  atomic.Pointer[tls.Config]
	texts    [3]string // of certificate, key and client roots, of which watch has told last
}

// newServedTLS returns nil if apps are served in clear.
func newServedTLS(settings *config.Config) (*servedTLS, error) {
	first, err := settings.ServerTLS()
	if first == nil || err != nil {
		return nil, err
	}
	t := &servedTLS{settings: settings}
	t.texts = t.read()
	t.current.Store(first)
	return t, nil
}

// read returns what the secrets hold now.
func (t *servedTLS) read() [3]string {
	return [3]string{t.settings.TLSCert.Reveal(), t.settings.TLSKey.Reveal(), t.settings.TLSClientCA.Reveal()}
}

// config returns a configuration by which each handshake uses what is current at its start.
func (t *servedTLS) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current.Load(), nil },
	}
}

// watch takes new certificates, keys and client roots up until ctx ends. What is new is used
// once it belongs together; until then the old stays in use. A certificate and its key come
// in two files, so that they may differ for a moment: tell is called once for what still does
// after two seconds.
func (t *servedTLS) watch(ctx context.Context, tell func(error)) {
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	var since time.Time // when the texts that do not belong together were seen first
	var faulty [3]string
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		now := t.read()
		if now == t.texts {
			continue
		}
		next, err := t.settings.ServerTLS()
		switch {
		case err == nil:
			t.current.Store(next)
			t.texts = now
		case now != faulty:
			faulty, since = now, time.Now()
		case time.Since(since) > 2*time.Second:
			t.texts = now // the fault is told once
			tell(err)
		}
	}
}

// watchTLS keeps the certificate of the data listeners up to date until ctx ends.
func (s *Sidecar) watchTLS(ctx context.Context) {
	s.tls.watch(ctx, func(err error) {
		s.metrics.SecretReload(false)
		s.log.Error().Err(err).Msg("changed TLS certificate not taken; the old one stays")
	})
}
