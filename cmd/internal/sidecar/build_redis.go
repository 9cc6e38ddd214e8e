package sidecar

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/rs/zerolog"

	"token-sidecar/cache"
	"token-sidecar/metrics"
)

// shared returns the tokens shared through Redis, nil if it is off.
func (c *Config) shared(log zerolog.Logger, m *metrics.Metrics) (*cache.Shared, error) {
	if !c.Redis.On() {
		return nil, nil
	}
	config, err := c.Redis.tls()
	if err != nil {
		return nil, err
	}
	var ring []cache.SealKey
	for _, k := range c.Redis.KeyRing() {
		ring = append(ring, cache.SealKey{ID: k.ID, Key: k.Key})
	}
	return cache.NewShared(cache.SharedConfig{
		URL:     c.Redis.URL,
		Mode:    c.Redis.Mode,
		TLS:     config,
		Ring:    ring,
		Metrics: m,
		Log:     log,
	})
}

// tls returns the roots and the certificate for rediss:// URLs.
func (c *RedisConfig) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read SIDECAR_REDIS_CA_FILE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read SIDECAR_REDIS_CERT_FILE and SIDECAR_REDIS_KEY_FILE: %w", err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	return config, nil
}
