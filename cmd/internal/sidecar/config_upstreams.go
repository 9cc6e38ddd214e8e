package sidecar

import (
	"fmt"
	"net/url"
	"strings"
)

// fillDefaults sets what depends on other settings and was not given, and
// brings values into the one form that the program uses.
func (c *Config) fillDefaults() {
	live := c.PDX.Environment != "sandbox"
	if live {
		fillURL(&c.PDX.Target, "api.mydex.org", "")
		fillURL(&c.PDX.TokenURL, "op.mydexid.org", "/oauth2/token")
		fillTarget(&c.PDX.Targets, "idaas", "idp.mydexid.org")
	} else {
		fillURL(&c.PDX.Target, "sbx-api.mydex.org", "")
		fillURL(&c.PDX.TokenURL, "sbx-op.mydexid.org", "/oauth2/token")
	}
	if c.OCLC.Auth == "hmac" {
		fillURL(&c.OCLC.TokenURL, "authn.sd00.worldcat.org", "/oauth2/accessToken")
	} else {
		fillURL(&c.OCLC.TokenURL, "oauth.oclc.org", "/token")
	}
	if c.HumanAPI.HIP {
		fillURL(&c.HumanAPI.TokenURL, "auth.humanapi.co", "/v1/admin/token")
		fillTarget(&c.HumanAPI.Targets, "admin", "admin.humanapi.co")
	} else {
		fillURL(&c.HumanAPI.TokenURL, "auth.humanapi.co", "/v1/connect/token")
	}
	fillAudience(&c.MyDataHelps.Audience, c.MyDataHelps.TokenURL)
	for i := range c.OAuth2 {
		if api := &c.OAuth2[i]; api.Auth == "private_key_jwt" {
			fillAudience(&api.Audience, api.TokenURL)
		}
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

// checkUpstreams checks what the settings of one upstream say together, and
// that there is an upstream at all.
func (l *loader) checkUpstreams(c *Config) {
	if c.MyDataHelps.Targets["participant"] != nil {
		l.fault(prefix+"MYDATAHELPS_TARGETS", flawf("rename it", "holds participant, which is a route of its own"))
	}
	if c.HumanAPI.Targets["admin"] != nil && !c.HumanAPI.HIP {
		l.fault(prefix+"HUMANAPI_TARGETS", flawf("set SIDECAR_HUMANAPI_HIP=true or rename it", "holds admin, which only HIP has"))
	}
	if c.OCLC.On() && c.OCLC.Auth == "hmac" && c.OCLC.Institution == "" {
		l.miss(prefix+"OCLC_INSTITUTION", "is not set, but SIDECAR_OCLC_AUTH=hmac signs it")
	}
	byName := map[string]int{}
	for n := range c.OAuth2 {
		section := fmt.Sprintf("%sOAUTH2_%d_", prefix, n)
		l.checkOAuth2(c, section, &c.OAuth2[n])
		name := c.OAuth2[n].Name
		if first, ok := byName[name]; ok && name != "" {
			l.fault(section+"NAME", flawf("choose another", "is the name of SIDECAR_OAUTH2_%d_NAME too", first))
		}
		byName[name] = n
	}
	l.checkSome(c)
}

// miss faults a setting that is not there, unless it is and has a fault of its own.
func (l *loader) miss(variable, problem string) {
	if !l.faulty[variable] {
		l.fault(variable, flawf("set it", "%s", problem))
	}
}

func (l *loader) checkOAuth2(c *Config, section string, api *OAuth2Config) {
	needed := []string{"NAME", "CLIENT_ID", "TARGET", "TOKEN_URL"}
	unwanted := ""
	switch api.Auth {
	case "private_key_jwt":
		needed, unwanted = append(needed, "PRIVATE_KEY"), "CLIENT_SECRET"
	case "basic", "post":
		needed, unwanted = append(needed, "CLIENT_SECRET"), "PRIVATE_KEY"
	}
	for _, name := range needed {
		if c.origin[section+name] == "" {
			l.miss(section+name, "is not set, but other settings of this number are")
		}
	}
	if unwanted != "" && c.origin[section+unwanted] != "" {
		l.fault(section+unwanted, flawf("remove it or choose another "+section+"AUTH",
			"is set, but %sAUTH is %s", section, api.Auth))
	}
}

// checkSome makes sure that there is an upstream. It says nothing if one was
// begun: its own faults say more.
func (l *loader) checkSome(c *Config) {
	if len(c.OAuth2) > 0 {
		return
	}
	begun := []string{"MYDATAHELPS_", "PDX_", "OCLC_", "HUMANAPI_", "OAUTH2_"}
	for _, section := range begun {
		for name := range c.origin {
			if strings.HasPrefix(name, prefix+section) {
				return
			}
		}
	}
	if l.faulty[prefix+"OAUTH2_0_NAME"] {
		return
	}
	var credentials []string
	for _, s := range c.settings() {
		if s.tag("needed") != "" && s.section != prefix+"REDIS_" {
			credentials = append(credentials, s.name)
		}
	}
	l.fault(credentials[0], flawf("set the credential of at least one: "+strings.Join(credentials, ", ")+" or "+prefix+"OAUTH2_0_NAME",
		"is not set, nor is any other upstream's credential"))
}
