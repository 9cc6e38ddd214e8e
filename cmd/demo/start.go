package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/metrics"
)

// start starts everything the demo consists of, what the sidecar needs first,
// and blocks until the tokens that need no subject are loaded. More are settings without SIDECAR_
// that go before those of the demo.
func start(ctx context.Context, data, admin string, life lives, log zerolog.Logger, more ...string) (*demo, error) {
	life.keysAt = unused()
	d := &demo{providers: startProviders(life), redis: miniredis.NewMiniRedis(), more: more}
	// No Proxy: the person's environment may name one for everything else.
	d.direct = &http.Client{Transport: &http.Transport{}}
	if err := d.redis.Start(); err != nil {
		d.stop()
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	var err error
	if d.sidecar, err = d.startSidecar(ctx, data, admin, log, "SIDECAR_JWKS_LISTEN="+life.keysAt); err == nil {
		err = d.awaitShared(ctx)
	}
	if err == nil {
		// It finds what the first one has loaded.
		d.replica, err = d.startSidecar(ctx, anyPort, anyPort, log)
	}
	if err != nil {
		d.stop()
		return nil, err
	}
	d.proxied = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: d.address("data")})}}
	return d, nil
}

// startSidecar starts a sidecar and blocks until it has the tokens that need no subject.
func (d *demo) startSidecar(ctx context.Context, data, admin string, log zerolog.Logger, more ...string) (*sidecar.Sidecar, error) {
	settings, err := config.Parse(append(d.environ(data, admin), more...), redisDriver{})
	if err != nil {
		return nil, fmt.Errorf("configure the sidecar: %w", err)
	}
	s, err := sidecar.Start(settings, log, metrics.New("demo"), io.Discard)
	if err != nil {
		return nil, fmt.Errorf("start the sidecar: %w", err)
	}
	if err := d.await(ctx, s, pinnedLoaded); err != nil {
		s.Stop()
		return nil, fmt.Errorf("wait for the tokens that need no subject: %w", err)
	}
	return s, nil
}

// awaitShared blocks until the first sidecar has shared the token of each
// provider that needs no subject. A second one that came before would fetch
// tokens of its own, and then each would have the other's to fall back on.
func (d *demo) awaitShared(ctx context.Context) error {
	for {
		shared := 0
		for _, name := range d.redis.Keys() {
			if strings.HasSuffix(name, ":token") {
				shared++
			}
		}
		if shared >= len(upstreams()) {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for the tokens to be shared: %d are: %w", shared, ctx.Err())
		}
	}
}

// environ is a sidecar's environment.
func (d *demo) environ(data, admin string) []string {
	key := sha256.Sum256([]byte("a demo's key is known to everyone"))
	all := append(d.providers.environ(), "SIDECAR_LISTEN="+data, "SIDECAR_ADMIN_LISTEN="+admin,
		"SIDECAR_OCLC_LISTEN="+beside(data),
		"SIDECAR_REDIS_URL=redis://"+d.redis.Addr(),
		"SIDECAR_REDIS_KEYS=demo:"+base64.StdEncoding.EncodeToString(key[:]))
	for _, setting := range d.more {
		name, _, _ := strings.Cut(setting, "=")
		all = slices.DeleteFunc(all, func(s string) bool { return strings.HasPrefix(s, "SIDECAR_"+name+"=") })
		all = append(all, "SIDECAR_"+setting)
	}
	return all
}

// stop ends everything, in the opposite order.
func (d *demo) stop() {
	d.direct.CloseIdleConnections()
	if d.proxied != nil {
		d.proxied.CloseIdleConnections()
	}
	for _, s := range []*sidecar.Sidecar{d.replica, d.sidecar} {
		if s != nil {
			s.Stop()
		}
	}
	d.redis.Close()
	d.providers.close()
}

// pinnedLoaded reports whether no pinned token is missing.
func pinnedLoaded(s series) bool {
	for _, name := range upstreams() {
		if s.left(name) <= 0 {
			return false
		}
	}
	return true
}
