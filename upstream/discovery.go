package upstream

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// discovery finds the token endpoint of an issuer by its metadata. What it has found stays
// until the endpoint cannot be reached or is no longer there; then the metadata is read
// anew. It is safe for concurrent use.
type discovery struct {
	issuer *url.URL
	hosts  []string // beside the issuer's, on which the token endpoint may be

	found   atomic.Pointer[url.URL] // nil: it has to be looked for
	reading sync.Mutex              // held by whoever looks
}

// find returns the token endpoint, and reads the metadata with the client of e if it is not
// known. One reads while others wait; a wait ends with the reading, which is bounded by the
// context of whoever reads. The error is an *Error.
func (d *discovery) find(ctx context.Context, e *endpoint) (*url.URL, error) {
	if found := d.found.Load(); found != nil {
		return found, nil
	}
	d.reading.Lock()
	defer d.reading.Unlock()
	if found := d.found.Load(); found != nil {
		return found, nil
	}
	for _, form := range metadataForms {
		a, err := d.read(ctx, e, form.url(d.issuer))
		if err != nil {
			return nil, err
		}
		switch {
		case a.status == http.StatusOK && a.members != nil:
			found, err := d.tokenEndpoint(a, form, e)
			if err == nil {
				d.found.Store(found)
			}
			return found, err
		case a.status >= 500, a.status == http.StatusTooManyRequests:
			return nil, e.fail(ClassUnavailable, a.status, "discovery: the metadata of the issuer cannot be had")
		}
	}
	return nil, e.fail(ClassMalformed, 0, "discovery: the issuer has no metadata at any of the three known places")
}

// judge forgets the token endpoint if an attempt to reach it shows that it may have moved:
// there was no answer, or one that says that nothing is there.
func (d *discovery) judge(a answer, err error) {
	if err != nil || a.status == http.StatusNotFound || a.status == http.StatusGone {
		d.found.Store(nil)
	}
}

// metadataForm is one of the standards that say where metadata is.
type metadataForm struct {
	url func(issuer *url.URL) string
	// elsewhere: the document may name another issuer on the same host, as that of SMART
	// does, which is found by the address of a FHIR server and not by that of its issuer.
	elsewhere bool
}

// metadataForms in the order in which they are tried: RFC 8414 section 3.1, OpenID Connect
// Discovery 1.0 section 4, and SMART App Launch 2 (Conformance).
var metadataForms = []metadataForm{
	{url: func(u *url.URL) string {
		return u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.EscapedPath(), "/")
	}},
	{url: func(u *url.URL) string {
		return strings.TrimSuffix(u.String(), "/") + "/.well-known/openid-configuration"
	}},
	{url: func(u *url.URL) string {
		return strings.TrimSuffix(u.String(), "/") + "/.well-known/smart-configuration"
	}, elsewhere: true},
}

// read gets one document. The error, an *Error, means that no whole answer came.
func (d *discovery) read(ctx context.Context, e *endpoint, address string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, e.fail(ClassUnavailable, 0, "discovery: the request cannot be built")
	}
	req.Header.Set("Accept", jsonType)
	req.Header.Set("User-Agent", "token-sidecar")
	return e.do(req)
}

// tokenEndpoint reads the metadata. Whoever can change it could have credentials sent to
// him, so the document must be of this issuer (RFC 8414 section 3.3), and an endpoint on
// another host must have been foreseen in the settings.
func (d *discovery) tokenEndpoint(a answer, form metadataForm, e *endpoint) (*url.URL, error) {
	lie := func(reason string) (*url.URL, error) {
		return nil, e.fail(ClassMalformed, a.status, "discovery: "+reason)
	}
	if named := a.text("issuer"); a.has("issuer") || !form.elsewhere {
		u, err := url.Parse(named)
		same := named == d.issuer.String() || err == nil && form.elsewhere && u.Scheme == d.issuer.Scheme && u.Host == d.issuer.Host
		if !same {
			return lie("the metadata are of another issuer")
		}
	}
	found, err := url.Parse(a.text("token_endpoint"))
	switch {
	case err != nil || found.Host == "" || found.User != nil || found.Fragment != "" || found.RawQuery != "":
		return lie("the metadata name no usable token_endpoint")
	case found.Scheme != "https" && found.Scheme != d.issuer.Scheme:
		return lie("the token endpoint is not https")
	case found.Host != d.issuer.Host && !slices.Contains(d.hosts, strings.ToLower(found.Hostname())):
		return lie("the token endpoint is on a host that the settings do not list")
	}
	return found, nil
}
