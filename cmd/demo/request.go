package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/upstream/upstreamtest"
)

// way is how an app points at the sidecar.
type way int

const (
	byPath     way = iota // http://sidecar/{route}/…
	byListener            // the route's own listener
	byProxy               // http_proxy, with the URL of the target
	byReplica             // as byPath, at the second sidecar
)

// request is one request of an app.
type request struct {
	way           way
	route         string
	path          string // as the target shall see it
	subject       string
	subjectInPath bool // else in the header
	scope         string
}

// serving returns the sidecar that serves the request.
func (d *demo) serving(r request) *sidecar.Sidecar {
	if r.way == byReplica {
		return d.replica
	}
	return d.sidecar
}

// url returns the URL that the app uses.
func (d *demo) url(r request) string {
	path := r.path
	if r.subjectInPath {
		path = "/~" + url.PathEscape(r.subject) + path
	}
	switch r.way {
	case byListener:
		return "http://" + d.address(r.route) + path
	case byProxy:
		return d.providers.of(r.route).APIURL() + path
	}
	return "http://" + d.serving(r).Addr("data").String() + "/" + r.route + path
}

// headers are those by which the app chooses a token.
func (r request) headers() map[string]string {
	headers := map[string]string{}
	if r.subject != "" && !r.subjectInPath {
		headers["X-Token-Subject"] = r.subject
	}
	if r.scope != "" {
		headers["X-Token-Scope"] = r.scope
	}
	return headers
}

// curl returns the request as a line for a shell.
func (d *demo) curl(r request) string {
	line := "curl "
	if r.way == byProxy {
		// Many environments except loopback from their proxy.
		line = "http_proxy=http://" + d.address("data") + " curl --noproxy '' "
	}
	headers := r.headers()
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		line += fmt.Sprintf("-H '%s: %s' ", name, headers[name])
	}
	return line + d.url(r)
}

// String names the request in the table.
func (r request) String() string {
	text := "/" + r.route
	switch r.way {
	case byListener:
		text = r.route + " by its listener: "
	case byProxy:
		text = r.route + " by http_proxy: "
	case byReplica:
		text = "replica: /" + r.route
	}
	if r.subjectInPath {
		text += "/~" + r.subject
	}
	text += r.path
	if r.subject != "" && !r.subjectInPath {
		text += " as " + r.subject
	}
	if r.scope != "" {
		text += " for " + r.scope
	}
	return text
}

// answer is what the app got.
type answer struct {
	status int
	code   string            // of a problem document
	echo   upstreamtest.Echo // of a target that took the token
	serial int               // of that token, 0 if none arrived
	took   time.Duration
}

const maxAnswer = 64 << 10

// send makes the request over HTTP.
func (d *demo) send(ctx context.Context, r request) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url(r), nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Accept", "application/json")
	for name, value := range r.headers() {
		req.Header.Set(name, value)
	}
	client := d.direct
	if r.way == byProxy {
		client = d.proxied
	}
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, took: time.Since(began)}
	a.read(res.Header.Get("Content-Type"), body)
	return a, nil
}

// read takes from the body what it is there for; anything else leaves a as it
// is, and so wrong.
func (a *answer) read(contentType string, body []byte) {
	if strings.HasPrefix(contentType, "application/problem+json") {
		var problem struct{ Code string }
		if json.Unmarshal(body, &problem) == nil {
			a.code = problem.Code
		}
		return
	}
	if a.status == http.StatusOK && json.Unmarshal(body, &a.echo) == nil {
		a.serial, _ = strconv.Atoi(a.echo.Token)
	}
}
