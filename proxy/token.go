package proxy

import (
	"context"
	"slices"
	"strings"
	"time"

	"token-sidecar/metrics"
	"token-sidecar/upstream"
)

// getToken returns the token to send, and counts the time it takes as waiting. It blocks
// while the cache loads a token, until the app leaves.
func (x *exchange) getToken() (upstream.Token, error) {
	now := time.Now()
	if token, ok := x.proxy.config.Cache.Held(x.key, now); ok {
		return token, nil
	}
	token, err := x.proxy.config.Cache.Token(x.tokenContext(x.in.Context()), x.key)
	x.waited += time.Since(now)
	return token, err
}

// tokenContext returns ctx with what the token request, and the metrics of waiting for it, need of
// the app's request.
func (x *exchange) tokenContext(ctx context.Context) context.Context {
	if id := traceID(x.in.Header); id != "" {
		ctx = metrics.WithTraceID(ctx, id)
	}
	if x.route.Subject != upstream.SubjectFromToken {
		return ctx
	}
	token, _ := bearerToken(x.in.Header) // chooseKey has read it, too
	return upstream.WithSubjectToken(ctx, upstream.NewSecret(strings.Clone(token)))
}

// getFields asks for the header fields that the API wants beside the token, for one attempt,
// and counts the time it takes as waiting. It blocks until they are there, for TokenTimeout at
// most, or until the app leaves. If it fails nothing must be sent to the target.
func (x *exchange) getFields() (err error) {
	if x.route.Fields == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(x.in.Context(), x.proxy.config.TokenTimeout)
	defer cancel()
	now := time.Now()
	x.attempt.fields, err = x.route.Fields.Fields(ctx, x.in.Method, x.path[len(x.route.base):], x.in.Header)
	x.waited += time.Since(now)
	if err == nil {
		return nil
	}
	if x.in.Context().Err() == nil {
		x.proxy.config.Log.Warn().Str("route", x.route.Name).Err(err).Msg("a header field that the API wants cannot be had")
	}
	return fieldError{err}
}

// replaceToken tells the cache that the target answered 401 to the token that was sent, and
// returns another one. It reports false if there is none, or if the request cannot be sent
// again. A 401 does not prove that the token is bad, so it is called once for a request.
func (x *exchange) replaceToken() (upstream.Token, bool) {
	tokens, rejected := x.proxy.config.Cache, x.attempt.token
	if !x.replayable() {
		// The next request shall have a better token; this one cannot wait for it.
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		tokens.Reject(x.tokenContext(ended), x.key, rejected)
		return upstream.Token{}, false
	}
	tokens.Reject(x.tokenContext(x.in.Context()), x.key, rejected)
	token, err := x.getToken()
	return token, err == nil && !token.Same(rejected)
}

// replayable reports whether the request can be sent again as it was.
func (x *exchange) replayable() bool {
	return slices.Contains(x.proxy.config.ReplayMethods, x.in.Method) && !x.streams() && !x.webSocket
}
