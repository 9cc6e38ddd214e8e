package proxy

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"

	"token-sidecar/upstream"
)

// Explanation is what the sidecar would do with a request. What does not apply is left out.
type Explanation struct {
	Status  int    `json:"status,omitempty"`  // that it is refused with; 0 if it would be sent
	Problem string `json:"problem,omitempty"` // code of the refusal
	Detail  string `json:"detail,omitempty"`  // for people: what is wrong and how to mend it

	Caller   string `json:"caller,omitempty"`
	Route    string `json:"route,omitempty"`
	Allowed  string `json:"allowed,omitempty"`  // pattern of the allow list that lets it through
	Kind     string `json:"kind,omitempty"`     // of the token
	Subject  string `json:"subject,omitempty"`  // where it comes from: path, header, token or settings
	Scope    string `json:"scope,omitempty"`    // of the token
	Method   string `json:"method,omitempty"`   // of the request to the target
	Target   string `json:"target,omitempty"`   // URL of that request
	HandedOn bool   `json:"handedOn,omitempty"` // the token goes to the app itself, and nothing to a target

	NotSent []string `json:"notSent,omitempty"` // header fields of the app that the target does not get
	Set     []string `json:"set,omitempty"`     // header fields that the sidecar sets
	Further bool     `json:"further,omitempty"` // the API wants further header fields, which are asked for with each request
}

// explanation returns what is known of the exchange, which has ended.
func (x *exchange) explanation() Explanation {
	e := Explanation{Caller: x.caller}
	if x.route != nil {
		e.Route = x.route.Name
	}
	if x.problem != "" {
		e.Status, e.Problem, e.Detail = x.out.status, x.problem, x.detail
		return e
	}
	e.Allowed, e.Kind, e.Subject, e.Scope = x.allowedBy, string(x.key.Kind), x.subjectFrom(), x.key.Scope
	if e.HandedOn = strings.HasPrefix(x.in.RequestURI, vendPrefix) && !x.dedicated; e.HandedOn {
		return e
	}
	to := x.route.Target
	e.Method, e.Target, e.Further = x.in.Method, to.Scheme+"://"+to.Host+x.path+x.query, x.route.Fields != nil
	e.NotSent, e.Set = x.changes()
	return e
}

// subjectFrom says where the subject of the key comes from.
func (x *exchange) subjectFrom() string {
	switch {
	case x.key.Subject == "":
		return ""
	case x.route.Subject == upstream.SubjectFromToken:
		return "token"
	case x.subjectInPath != "":
		return "path"
	case x.in.Header[subjectHeader] != nil:
		return "header"
	}
	return "settings"
}

// changes compares the header fields of the app with those that the target would get.
func (x *exchange) changes() (notSent, set []string) {
	var head bytes.Buffer
	w := bufio.NewWriter(&head)
	x.writeHead(w)
	_ = w.Flush()
	sent := map[string]bool{}
	for line := range strings.Lines(head.String()) {
		if name, _, ok := strings.Cut(line, ": "); ok {
			sent[http.CanonicalHeaderKey(name)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(x.in.Header)) {
		if !sent[name] && !(x.webSocket && (name == "Upgrade" || name == "Connection")) {
			notSent = append(notSent, name)
		}
	}
	return notSent, []string{"Authorization", loopHeader}
}
