package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// endpoint is one token endpoint. It has connections of its own, so that a provider
// that is in trouble takes none away from another.
type endpoint struct {
	upstream string
	url      *url.URL // nil: each message has its own
	client   *http.Client
	config   Config
}

// newEndpoint returns the token endpoint of c, with no connection yet.
func newEndpoint(upstream string, c Config) *endpoint {
	transport := &http.Transport{
		// No Proxy: an environment variable must not send secrets elsewhere.
		DialContext:         c.Egress.Through((&net.Dialer{Timeout: 5 * time.Second}).DialContext),
		TLSClientConfig:     &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
		ForceAttemptHTTP2:   true,
		// Without these a connection on which nothing comes any more fails all token requests for minutes.
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 3 * time.Second},
		MaxConnsPerHost:        16,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // a bomb would inflate here
	}
	return &endpoint{
		upstream: upstream,
		url:      c.TokenURL,
		config:   c,
		client: &http.Client{
			Transport: transport,
			// A redirect would carry the credential to a place nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// presenting returns the same token endpoint with connections of its own, which present the
// client certificate whatever authorities the server asks for. No TLS session of another
// certificate is resumed on them.
func (e *endpoint) presenting(certificate *ClientCertificate) *endpoint {
	transport := e.client.Transport.(*http.Transport).Clone()
	transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return certificate.TLS(), nil
	}
	client := *e.client
	client.Transport = transport
	other := *e
	other.client = &client
	return &other
}

// message is one token request with the client's proof in it, before it is sent.
type message struct {
	target      *url.URL // nil: that of the endpoint
	method      string   // empty: POST
	query       url.Values
	contentType string
	body        []byte
	header      http.Header
	// newBody makes a body of the same length for each time that the Transport
	// sends the request again, as one with an assertion must. Nil: body serves.
	newBody func() ([]byte, error)
}

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// formMessage carries fields in the body: RFC 6749 section 4.4.2.
func formMessage(fields url.Values) message {
	return message{contentType: formType, body: []byte(fields.Encode())}
}

// queryMessage carries fields in the query, with an empty body.
func queryMessage(fields url.Values) message { return message{query: fields} }

// jsonMessage carries fields as a JSON object in the body.
func jsonMessage(fields url.Values) message {
	return message{contentType: jsonType, body: jsonBody(fields)}
}

// jsonBody returns fields, none of which is there twice, as a JSON object.
func jsonBody(fields url.Values) []byte {
	members := map[string]string{}
	for name := range fields {
		members[name] = fields.Get(name)
	}
	body, err := json.Marshal(members)
	if err != nil {
		panic("a map of strings always marshals")
	}
	return body
}

// send makes the token request and reads the answer, whatever its status. The
// error, an *Error, means that no whole answer came.
func (e *endpoint) send(ctx context.Context, m message) (answer, error) {
	target := *cmp.Or(m.target, e.url)
	// %20 and not +: both are right in a form, only one is in every query reader.
	target.RawQuery = strings.ReplaceAll(m.query.Encode(), "+", "%20")
	req, err := http.NewRequestWithContext(ctx, cmp.Or(m.method, http.MethodPost), target.String(), bytes.NewReader(m.body))
	if err != nil {
		return answer{}, e.fail(ClassUnavailable, 0, "the token request cannot be built")
	}
	if m.newBody != nil {
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := m.newBody()
			return io.NopCloser(bytes.NewReader(body)), err
		}
	}
	for name, values := range m.header {
		req.Header[name] = values
	}
	if m.contentType != "" {
		req.Header.Set("Content-Type", m.contentType)
	}
	// An empty value is not sent. It lets the Transport try again when the
	// provider closed an idle connection just as this request went out.
	req.Header["X-Idempotency-Key"] = []string{}

	return e.do(req)
}

// do sends a request and reads the answer, whatever its status. The error, an *Error, means
// that no whole answer came.
func (e *endpoint) do(req *http.Request) (answer, error) {
	req.Header.Set("Accept", jsonType)
	req.Header.Set("User-Agent", "token-sidecar")
	began := time.Now()
	res, err := e.client.Do(req)
	if err != nil {
		return answer{}, e.unanswered("no answer: ", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return answer{}, e.unanswered("the answer broke off: ", err)
	}
	return newAnswer(res, body, began), nil
}

// unanswered returns the failure of a connection.
func (e *endpoint) unanswered(what string, err error) *Error {
	cause := ConnError(err)
	return &Error{Upstream: e.upstream, Class: ClassUnavailable, Cause: cause, Reason: what + cause}
}

// fail returns a failure that says no more than these; status is 0 without an answer.
func (e *endpoint) fail(class Class, status int, reason string) *Error {
	return &Error{Upstream: e.upstream, Class: class, Status: status, Reason: reason}
}
