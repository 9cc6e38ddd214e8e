package config

import (
	"net/url"
	"strings"
)

// fillDefaults sets what depends on other settings and was not given, and
// brings values into the one form that the program uses.
func (c *Config) fillDefaults() {
	for _, p := range c.providers() {
		p.fillDefaults()
	}
	for _, s := range c.settings() {
		if target, ok := s.value.Interface().(*url.URL); ok && target != nil && s.field.Name == "Target" {
			target.Path = strings.TrimSuffix(target.Path, "/")
		}
	}
	for i, host := range c.AllowedHosts {
		c.AllowedHosts[i] = strings.ToLower(host)
	}
	if len(c.ReplayMethods) == 1 && c.ReplayMethods[0] == "none" {
		c.ReplayMethods = nil
	}
}

func fillURL(u **url.URL, host, path string) {
	if *u == nil {
		*u = &url.URL{Scheme: "https", Host: host, Path: path}
	}
}

func fillTarget(targets *Targets, name, host string) {
	if *targets == nil {
		*targets = Targets{name: {Scheme: "https", Host: host}}
	}
}

func fillAudience(audience *string, tokenURL *url.URL) {
	if *audience == "" && tokenURL != nil {
		*audience = tokenURL.String()
	}
}
