package sidecar

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"time"

	"token-sidecar/upstream"
)

// upstreams returns one upstream for each that is configured.
func (c *Config) upstreams(roots *x509.CertPool) []upstream.Upstream {
	var all []upstream.Upstream
	if m := &c.MyDataHelps; m.On() {
		all = append(all, upstream.NewMyDataHelps(upstream.MyDataHelpsConfig{
			Config:                m.shared(m.TokenURL, m.Target, m.Targets, m.Scope, m.DefaultLifetime, roots),
			ServiceAccount:        m.ServiceAccount,
			PrivateKey:            m.PrivateKey,
			Audience:              m.Audience,
			AssertionLifetime:     m.AssertionLifetime,
			DelegatedClientID:     m.DelegatedClientID,
			DelegatedClientSecret: m.DelegatedClientSecret,
		}))
	}
	if p := &c.PDX; p.On() {
		all = append(all, upstream.NewPDX(upstream.PDXConfig{
			Config:       p.shared(p.TokenURL, p.Target, p.Targets, p.Scope, p.DefaultLifetime, roots),
			ClientID:     p.ClientID,
			ClientSecret: p.ClientSecret,
			Post:         p.Auth == "post",
			PlainBasic:   p.BasicEncoding == "plain",
		}))
	}
	if o := &c.OCLC; o.On() {
		all = append(all, upstream.NewOCLC(upstream.OCLCConfig{
			Config:      o.shared(o.TokenURL, o.Target, o.Targets, o.Scope, o.DefaultLifetime, roots),
			WSKey:       o.WSKey,
			Secret:      o.Secret,
			Institution: o.Institution,
			HMAC:        o.Auth == "hmac",
			InBody:      o.Parameters == "body",
		}))
	}
	if h := &c.HumanAPI; h.On() {
		all = append(all, upstream.NewHumanAPI(upstream.HumanAPIConfig{
			Config:       h.shared(h.TokenURL, h.Target, h.Targets, "", h.DefaultLifetime, roots),
			ClientID:     h.ClientID,
			ClientSecret: h.ClientSecret,
			HIP:          h.HIP,
		}))
	}
	for i := range c.OAuth2 {
		o := &c.OAuth2[i]
		all = append(all, upstream.NewOAuth2(upstream.OAuth2Config{
			Config:       o.shared(o.TokenURL, o.Target, o.Targets, o.Scope, o.DefaultLifetime, roots),
			Name:         o.Name,
			ClientID:     o.ClientID,
			ClientSecret: o.ClientSecret,
			PrivateKey:   o.PrivateKey,
			Auth:         o.Auth,
			PlainBasic:   o.BasicEncoding == "plain",
			Audience:     o.Audience,
		}))
	}
	return all
}

func (c UpstreamConfig) shared(token, target *url.URL, targets Targets, scope string, life time.Duration, roots *x509.CertPool) upstream.Config {
	return upstream.Config{
		TokenURL:        token,
		Target:          target,
		Targets:         targets.List(),
		Scope:           scope,
		AllowedScopes:   c.AllowedScopes,
		DefaultLifetime: life,
		RefuseNarrow:    c.NarrowScope == "refuse",
		Roots:           roots,
	}
}

// roots returns the system's certificate authorities and those of CA_FILE. They
// are read at the start, and not when the first of them is needed, so that the
// megabytes this takes for a moment can be given back before anything is served.
func (c *Config) roots() (*x509.CertPool, error) {
	defer debug.FreeOSMemory()
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if c.CAFile == "" {
		return pool, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read SIDECAR_CA_FILE: %w", err)
	}
	pool.AppendCertsFromPEM(pem)
	return pool, nil
}

// dedicated returns the dedicated listeners by the name of their route.
func (c *Config) dedicated() map[string]Listener {
	all := map[string]Listener{
		"mydatahelps":             c.MyDataHelps.Listen,
		"mydatahelps.participant": c.MyDataHelps.ParticipantListen,
		"pdx":                     c.PDX.Listen,
		"oclc":                    c.OCLC.Listen,
		"humanapi":                c.HumanAPI.Listen,
	}
	for i := range c.OAuth2 {
		all[c.OAuth2[i].Name] = c.OAuth2[i].Listen
	}
	for name, l := range all {
		if l.IsZero() {
			delete(all, name)
		}
	}
	return all
}
