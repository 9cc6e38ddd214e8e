package proxy

import (
	"bufio"
	"bytes"
	"maps"
	"net/http"
	"slices"
	"strings"

	"token-sidecar/proxy/internal/http1"
	"token-sidecar/upstream"
)

// Explanation is what the sidecar would do with a request. What does not apply is left out.
type Explanation struct {
	Status  int    `json:"status,omitempty"`  // that it is refused with; 0 if it would be sent
	Problem string `json:"problem,omitempty"` // code of the refusal
	Detail  string `json:"detail,omitempty"`  // for people: what is wrong and how to mend it

	Caller   string `json:"caller,omitempty"`
	Route    string `json:"route,omitempty"`
	Allowed  string `json:"allowed,omitempty"`   // pattern of the allow list that lets it through
	Kind     string `json:"kind,omitempty"`      // of the token
	Subject  string `json:"subject,omitempty"`   // where it comes from: path, header, token or settings
	Scope    string `json:"scope,omitempty"`     // of the token
	Method   string `json:"method,omitempty"`    // of the request to the target
	Target   string `json:"target,omitempty"`    // URL of that request
	HandedOn bool   `json:"handed_on,omitempty"` // the token goes to the app itself, and nothing to a target

	NotSent []string `json:"not_sent,omitempty"` // header fields of the app that the target does not get
	Set     []string `json:"set,omitempty"`      // header fields that the sidecar sets
	Further bool     `json:"further,omitempty"`  // the API wants further header fields, which are asked for with each request
}

// ExplainHandler returns a handler that tells what Handler, or RouteHandler of a name that is not
// empty, would do with each request, in place of doing it. It fails if no route has the name.
func (p *Proxy) ExplainHandler(name string, tell func(Explanation)) (http.Handler, error) {
	var route *route
	var err error
	if name != "" {
		route, err = p.routeOf(name)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close") // else net/http waits for the body, which nobody sends
		tell(p.explain(r, route))
	}), err
}

// ExplainHead says why the head of a request, with the empty line that ends it, would reach no
// handler; needsTLS says that it comes without TLS to a listener that speaks it. It reports false if
// it would reach one.
func ExplainHead(head string, needsTLS bool) (Explanation, bool) {
	p := errNoTLS
	if !needsTLS {
		length, err := http1.Find([]byte(head), 0)
		if err == nil {
			err = new(http1.Head).Parse([]byte(head[:length]))
		}
		if err == nil {
			return Explanation{}, false
		}
		p = faultProblem(err)
	}
	return Explanation{Status: p.status, Problem: p.code, Detail: p.detail}, true
}

// explain returns what would be done with a request. fixed is as in serve.
func (p *Proxy) explain(r *http.Request, fixed *route) Explanation {
	x := &exchange{proxy: p, in: r}
	err := x.judge(fixed)
	e := Explanation{Caller: x.caller}
	if x.route != nil {
		e.Route = x.route.Name
	}
	if err != nil {
		problem := problemOf(err)
		e.Status, e.Problem, e.Detail = problem.status, problem.code, problem.detail
		return e
	}
	e.Allowed, e.Kind, e.Subject, e.Scope, e.HandedOn = x.allowedBy, string(x.key.Kind), x.subjectFrom(), x.key.Scope, x.vend
	if !x.vend {
		to := x.route.Target
		e.Method, e.Target, e.Further = r.Method, to.Scheme+"://"+to.Host+x.path+x.query, x.route.Fields != nil
		e.NotSent, e.Set = x.notSent(), []string{"Authorization", loopHeader}
	}
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

// notSent returns the header fields of the app that the target does not get.
func (x *exchange) notSent() (names []string) {
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
	// The general way sends these, too.
	sent["Upgrade"], sent["Connection"], sent["Te"] = x.webSocket, x.webSocket, nominates(x.in.Header["Te"], "trailers")
	for _, name := range slices.Sorted(maps.Keys(x.in.Header)) {
		if !sent[name] {
			names = append(names, name)
		}
	}
	return names
}
