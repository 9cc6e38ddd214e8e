package sidecar

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cmd/internal/config"
	"token-sidecar/metrics"
	"token-sidecar/proxy"
)

const explainUsage = `Usage: token-sidecar explain [-H 'Name: value' ...] [--json] METHOD URL

Says what a sidecar with the same settings would do with a request: which route and which token it
is for, what the target would get; or why it would be refused. It sends nothing, and asks for no
token: whether there is one, check tells. URL is as the app has it: a path, or with scheme and
host, which name one of the sidecar's listeners or, as through a proxy, a target. The exit code is
0 if the request would be sent, 1 if it would be refused.

  -H 'Name: value'  header field of the request; may be repeated
  --json            print one JSON object
`

// asked is the request that is to be explained.
type asked struct {
	method, url string
	fields      []string // header lines
	json        bool
}

// parseAsked reads the arguments of explain. Its errors quote none of them: each may name a person.
func parseAsked(args []string) (a asked, err error) {
	flags := flag.NewFlagSet("explain", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&a.json, "json", false, "")
	flags.Func("H", "", func(line string) error {
		a.fields = append(a.fields, line)
		return nil
	})
	if err := flags.Parse(args); err != nil || flags.NArg() != 2 {
		return a, &ExitError{exitUsage, "explain takes -H 'Name: value', --json, a method and a URL; see token-sidecar explain --help"}
	}
	a.method, a.url = flags.Arg(0), flags.Arg(1)
	if strings.ContainsAny(a.method+a.url+strings.Join(a.fields, ""), "\r\n") {
		return a, &ExitError{exitUsage, "explain takes no line breaks in its arguments"}
	}
	return a, nil
}

// explain prints what would be done with the request.
func (p Program) explain(ctx context.Context, c call) error {
	a, err := parseAsked(c.args)
	if err != nil {
		return err
	}
	settings, err := p.parse(c.environ)
	if err != nil {
		return err
	}
	q, err := a.question(settings)
	if err != nil {
		return err
	}
	e, err := ask(ctx, settings, q)
	if err != nil {
		return err
	}
	if a.json {
		out := json.NewEncoder(c.stdout)
		out.SetEscapeHTML(false)
		err = out.Encode(e)
	} else {
		err = writeExplanation(c.stdout, e)
	}
	if err == nil && e.Status != 0 {
		err = &ExitError{Code: 1}
	}
	return err
}

// question is the request as it would come to a listener.
type question struct {
	route string // that the listener is for; "" for the data listener
	head  string // as a client would send it
	clear bool   // without TLS, to a listener that speaks it
}

// question returns the request as its client would send it.
func (a asked) question(settings *config.Config) (q question, err error) {
	target, host := a.url, "localhost"
	if !strings.HasPrefix(a.url, "/") {
		scheme, rest, ok := strings.Cut(a.url, "://")
		if !ok {
			return q, &ExitError{exitUsage, "explain: the URL is neither a path nor one with a scheme and a host"}
		}
		authority, path := rest, "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			authority, path = rest[:i], rest[i:]
		}
		host = authority
		route, listener, found := listenerAt(settings, authority)
		secure, https := settings.TLSCert.IsSet() && listener.Network != "unix", strings.EqualFold(scheme, "https")
		switch {
		case found && https && !secure:
			return q, &ExitError{exitUsage, "explain: that listener speaks plain HTTP; write http://"}
		case found:
			q.route, q.clear, target = route, secure && !https, path
		case https:
			return q, &ExitError{exitUsage, "explain: through a proxy, clients tunnel https:// past the sidecar, which refuses that; write http:// and it goes on over HTTPS"}
		}
	}
	q.head = a.method + " " + target + " HTTP/1.1\r\n"
	named := false
	for _, line := range a.fields {
		name, _, _ := strings.Cut(line, ":")
		named = named || strings.EqualFold(name, "Host")
		q.head += line + "\r\n"
	}
	if !named {
		q.head += "Host: " + host + "\r\n"
	}
	q.head += "\r\n"
	return q, nil
}

// listenerAt returns the listener that authority names, and the route that it is for, "" for the data
// listener. Without a port it is that one, as behind a Unix socket. It reports false if it is no
// listener's.
func listenerAt(settings *config.Config, authority string) (route string, l config.Listener, found bool) {
	if !proxy.NewHosts(settings.AllowedHosts, settings.Expose == "true").Allowed(authority) {
		return "", l, false
	}
	_, port, err := net.SplitHostPort(authority)
	if _, data, _ := net.SplitHostPort(settings.Listen.Address); err != nil || data == port {
		return "", settings.Listen, true
	}
	for route, l := range settings.Dedicated() {
		if _, own, _ := net.SplitHostPort(l.Address); own == port && l.Network != "unix" {
			return route, l, true
		}
	}
	return "", l, false
}

// ask sends the head to a server like the sidecar's own, which sends nothing on, and returns what it
// would have done.
func ask(ctx context.Context, settings *config.Config, q question) (e proxy.Explanation, err error) {
	if e, refused := proxy.ExplainHead(q.head, q.clear); refused {
		return e, nil
	}
	roots, err := settings.Roots()
	if err != nil {
		return e, err
	}
	s := &Sidecar{config: settings, log: zerolog.Nop(), metrics: metrics.New("explain"), upstreams: settings.Upstreams(roots)}
	if settings.Audit != "" { // which knows the purposes
		if s.audit, err = proxy.NewAudit(proxy.AuditConfig{Out: io.Discard, Key: settings.AuditKey, Purposes: settings.AuditPurposes, Metrics: s.metrics}); err != nil {
			return e, err
		}
		defer s.audit.Close()
	}
	explained := make(chan proxy.Explanation, 1)
	if s.proxy, err = proxy.New(s.proxyConfig(roots)); err != nil {
		return e, err
	}
	handler, err := s.proxy.ExplainHandler(q.route, func(e proxy.Explanation) { explained <- e })
	if err != nil {
		return e, err
	}
	if err := exchangeWith(ctx, handler, q.head); err != nil {
		return e, err
	}
	return <-explained, nil
}

// exchangeWith serves handler for one request.
func exchangeWith(ctx context.Context, handler http.Handler, head string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := proxy.NewServer(handler)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	defer func() {
		_ = server.Shutdown(ctx)
		<-served
	}()
	conn, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, head); err != nil {
		return err
	}
	if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
		return fmt.Errorf("explain: the request had no answer: %w", err)
	}
	return nil
}

// writeExplanation writes it for people, by the steps that a request takes.
func writeExplanation(w io.Writer, e proxy.Explanation) error {
	var text strings.Builder
	step := func(name, says string) {
		if says != "" {
			fmt.Fprintf(&text, "%-9s %s\n", name, says)
		}
	}
	step("caller", e.Caller)
	step("route", e.Route)
	if e.Problem != "" {
		step("verdict", fmt.Sprintf("refused: %d %s", e.Status, e.Problem))
		config.Wrap(&text, e.Detail, "          ")
		_, err := io.WriteString(w, text.String())
		return err
	}
	step("allowed", e.Allowed)
	subject := map[string]string{"path": " for the subject in the path", "header": " for the subject in X-Token-Subject",
		"token": " in exchange for the user's token", "settings": " for the subject of the settings"}[e.Subject]
	scope := ""
	if e.Scope != "" {
		scope = fmt.Sprintf(", scope %q", e.Scope)
	}
	step("token", e.Kind+subject+scope)
	if e.HandedOn {
		step("verdict", "the token would be handed to the app")
	} else {
		step("target", e.Method+" "+e.Target)
		step("not sent", strings.Join(e.NotSent, ", "))
		further := ""
		if e.Further {
			further = ", and header fields that the API wants beside the token"
		}
		step("set", strings.Join(e.Set, ", ")+further)
		step("verdict", "it would be sent")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
