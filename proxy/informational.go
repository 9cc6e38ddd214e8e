package proxy

import "net/http"

const (
	// maxInformational is how many informational answers (1xx) to a request are passed on.
	maxInformational = 16
	// tooManyInformational is how many a target may send before the real one. A long job
	// that tells ten times a second that it goes on can do so for a quarter of an hour.
	tooManyInformational = 10_000
)

// informs readies an informational answer (RFC 9110 section 15.2) for the app: what is
// kept from the app in final answers is kept from it here. It reports false if the answer
// is not to be passed on, and an error if the target floods or breaks HTTP.
func (x *exchange) informs(h http.Header) (bool, error) {
	x.informational++
	if x.informational > tooManyInformational {
		return false, errAnswer
	}
	if err := checkNames(h); err != nil {
		return false, err
	}
	if x.informational > maxInformational || !x.in.ProtoAtLeast(1, 1) { // HTTP/1.0 has none
		return false, nil
	}
	x.scrub(h)
	for _, name := range finalOnly {
		delete(h, name)
	}
	x.ownLinks(h)
	return true, nil
}

// finalOnly are headers that frame an answer or rule caches. In one that is not the real
// one they mean nothing, or say something else than keepApart makes the real one say.
var finalOnly = []string{"Content-Length", "Cache-Control", "Expires", "Age", "Pragma", "Vary"}
