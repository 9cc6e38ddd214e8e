package proxy

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// guard returns the name of the caller, if it has one, or why a request must not reach any
// route.
func (p *Proxy) guard(r *http.Request) (caller string, err error) {
	switch {
	case r.ProtoMajor != 1:
		return "", errProtocol
	case !methodAllowed(r.Method):
		return "", errMethod
	case r.RequestURI[0] != '/' && r.URL.Host == "":
		return "", errPath // neither origin-form nor absolute-form, such as "*", "http:/x" or "a:b"
	case r.URL.Host == "" && !p.config.Hosts.AllowedIn(r):
		return "", errHost
	}
	if err := p.checkHeaders(r); err != nil {
		return "", err
	}
	caller, ok := p.callers.find(r.Header)
	if !ok {
		return "", errCaller
	}
	return caller, nil
}

// allowedMethods returns those that an app is told of whose method is refused. Others are forwarded, too.
func allowedMethods(r *http.Request) string {
	if asksForToken(r) {
		return http.MethodPost
	}
	return strings.Join([]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions}, ", ")
}

// methodAllowed reports whether requests of a method are forwarded: all are but those with
// a meaning of their own for a proxy (CONNECT, TRACE: RFC 9110 section 9.3) or for HTTP/2
// (PRI). Methods are case-sensitive, but not to every server, so these are refused in any
// case.
func methodAllowed(method string) bool {
	if len(method) > 32 { // it was checked to be a token when it was read
		return false
	}
	switch strings.ToUpper(method) {
	case http.MethodConnect, http.MethodTrace, "PRI", "TRACK":
		return false
	}
	return true
}

// checkHeaders refuses requests of browsers, requests that have passed a sidecar before,
// and headers that could be read in two ways.
func (p *Proxy) checkHeaders(r *http.Request) error {
	lines := 0
	for name, values := range r.Header {
		lines += len(values)
		switch name {
		case "Origin", "Sec-Fetch-Site", "Access-Control-Request-Method",
			"Access-Control-Request-Headers", "Access-Control-Request-Private-Network":
			// A page that a person has open must not use the app's tokens: no
			// program beside the sidecar sends these, and every browser does.
			return errBrowser
		case "Referer":
			if !p.ownReferer(r, values) {
				return errBrowser
			}
		case loopHeader:
			if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, loopID) }) {
				return errLoop
			}
		}
		if strings.IndexByte(name, '_') >= 0 && reserved(strings.ReplaceAll(name, "_", "-")) {
			// Some servers take X_Token_Subject for X-Token-Subject.
			return errHeader
		}
	}
	if lines > maxHeaderLines {
		return errHeaderLines
	}
	return nil
}

// maxHeaderLines bounds what one request costs the target; no client comes near it.
const maxHeaderLines = 500

// reserved reports whether a header is one that the sidecar reads or sets itself.
func reserved(name string) bool {
	switch http.CanonicalHeaderKey(strings.Trim(name, "-")) {
	case subjectHeader, scopeHeader, routeHeader, purposeHeader, callerHeader, "Authorization", "Proxy-Authorization":
		return true
	}
	return false
}

// ownReferer reports whether a request's Referer is one of a program that has followed a
// redirect: then the URL that redirected it is the sidecar's or a target's. That it is not
// one of a browser on the sidecar's own pages is for the other headers to tell.
func (p *Proxy) ownReferer(r *http.Request, values []string) bool {
	if len(values) != 1 {
		return false
	}
	u, err := url.Parse(values[0])
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	scheme, port := "http", ":80"
	if r.TLS != nil {
		scheme, port = "https", ":443"
	}
	withoutPort := func(host string) string { return strings.TrimSuffix(strings.ToLower(host), port) }
	return p.isTarget(hostOf(u)) || u.Scheme == scheme && withoutPort(u.Host) == withoutPort(r.Host)
}
