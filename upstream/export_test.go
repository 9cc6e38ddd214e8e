package upstream

import (
	"io"
	"net/http"
	"strings"
)

// AnswerFrom has f answer the token requests of u, without a connection: fake
// clocks stop for none.
func AnswerFrom(u Upstream, f func(*http.Request) (status int, header http.Header, body string)) {
	client(u).Transport = answering(f)
}

func client(u Upstream) *http.Client {
	switch u := u.(type) {
	case *myDataHelps:
		return u.endpoint.client
	case *oclc:
		return u.endpoint.client
	case *pdx:
		return u.endpoint.client
	}
	return u.(*humanAPI).endpoint.client
}

type answering func(*http.Request) (int, http.Header, string)

func (f answering) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body := f(r)
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}
