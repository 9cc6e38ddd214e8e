package config

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"token-sidecar/upstream"
)

// WritePreamble writes the settings in force and what is worth a second look.
func (c *Config) WritePreamble(w io.Writer) error {
	if err := c.WriteEffective(w); err != nil {
		return err
	}
	for _, line := range c.Warnings() {
		if _, err := fmt.Fprintf(w, "\nwarning: %s\n", line); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// WriteEffective writes every setting in force, its value and where it came
// from. Secrets are masked. An upstream that is off takes one line.
func (c *Config) WriteEffective(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	off := map[string]bool{redisSection: !c.Redis.On()}
	for _, p := range c.known() {
		off[p.section] = !p.On()
	}
	section := ""
	for _, s := range c.settings() {
		begins := s.section != section
		section = s.section
		switch {
		case !off[section]:
			from := c.given[s.name]
			if from == "" {
				from = "default"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\n", s.name, s.show(), from)
		case begins:
			fmt.Fprintf(t, "%s*\t-\toff\n", section)
		}
	}
	return t.Flush()
}

// show renders the value for people, without what is secret in it.
func (s setting) show() string {
	text := ""
	switch v := s.value.Interface().(type) {
	case upstream.Secret:
		if v.IsSet() {
			text = showSecret(s, v)
		}
	case *url.URL:
		if v != nil {
			text = maskURL(v)
		}
	case []string:
		text = strings.Join(v, ",")
	default:
		text = fmt.Sprint(v)
	}
	if text == "" {
		return "-"
	}
	return text
}

// showSecret masks a secret, and of a URL its userinfo and query only.
func showSecret(s setting, secret upstream.Secret) string {
	if s.tag("check") == "redisurl" {
		if u, err := url.Parse(secret.Reveal()); err == nil {
			return maskURL(u)
		}
	}
	return secret.String()
}

// Warnings returns, one line each, what is allowed but worth a second look.
func (c *Config) Warnings() []string {
	var lines []string
	if u, err := url.Parse(c.Redis.URL.Reveal()); err == nil && u.Scheme == "redis" && (u.User != nil || u.Query().Has("password")) &&
		!hostPortOf(u.Hostname(), u.Port()).loopback() {
		lines = append(lines, "SIDECAR_REDIS_URL sends the Redis password in clear: use rediss:// unless the network is trusted")
	}
	if len(c.ignored) > 0 && c.EgressProxy == nil {
		lines = append(lines, strings.Join(c.ignored, ", ")+" in the environment: ignored; set SIDECAR_EGRESS_PROXY if a proxy leads out of this network")
	}
	callers := c.CallerToken.IsSet() || c.Callers.IsSet() || c.TLSClientCA.IsSet()
	for _, s := range c.listeners() {
		listener := s.listener()
		if s.field.Name == "AdminListen" || s.name == jwksListen || listener.Network != "tcp" || listener.hostPort().loopback() {
			continue
		}
		if !c.TLSCert.IsSet() {
			lines = append(lines, s.name+" is open to the network and SIDECAR_TLS_CERT is not set: requests and answers travel in clear")
		}
		if !callers {
			lines = append(lines, s.name+" is open to the network and neither SIDECAR_CALLERS nor SIDECAR_CALLER_TOKEN is set: whoever reaches it uses the credentials")
		}
	}
	return lines
}
