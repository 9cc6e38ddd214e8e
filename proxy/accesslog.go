package proxy

import (
	"bufio"
	"cmp"
	"maps"
	"net"
	"net/http"
	"time"
)

// responseWriter writes an answer to the app. It remembers what the access log says of it,
// and has the connection end behind the answer where that must be the last one. It belongs
// to the goroutine of the handler.
type responseWriter struct {
	http.ResponseWriter
	status int   // of the final answer; 0 before that has begun
	size   int64 // of its body, in bytes
	err    error // of writing that

	// last says that the answer is the last one on its connection. RFC 9112 section 6.1
	// asks for that where a request has both Content-Length and Transfer-Encoding, or the
	// latter in HTTP/1.0. net/http hides which requests do, so it is set for each that
	// could.
	last bool

	// upload is the body of the request, or nil. If it has not ended when the answer
	// begins, the answer is the last one, too: what is left of the body would break the
	// connection (golang/go#68560), and the client would learn that from its next request,
	// which it may not be able to send again. Besides, net/http then sends the answer
	// without reading the rest of the body first.
	upload *upload
}

// Unwrap is for http.ResponseController, which flushes and hijacks the writer below.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// useHeader adds h to the header of the answer and returns that. It may be h itself.
func (w *responseWriter) useHeader(h http.Header) http.Header {
	if below, ok := w.ResponseWriter.(interface{ adopt(http.Header) }); ok {
		below.adopt(h)
		return h
	}
	maps.Copy(w.Header(), h)
	return w.Header()
}

// WriteHeader implements [http.ResponseWriter].
func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
		if w.last || (w.upload != nil && !w.upload.whole()) {
			w.Header().Set("Connection", "close")
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements [io.Writer].
func (w *responseWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.size += int64(n)
	w.err = cmp.Or(w.err, err)
	return n, err
}

// Hijack implements [http.Hijacker]: ReverseProxy writes the answer to an
// upgrade itself.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// observe counts the exchange and writes its line in the access log. The line has no path,
// no query, no header and no subject: any of them may hold a person's data. The name of the
// caller is one of the configuration, and of traceparent it has the trace id alone.
func (x *exchange) observe() {
	took := time.Since(x.began)
	series, name := x.proxy.noRoute, "none"
	if x.route != nil {
		series, name = x.route.metrics, x.route.Name
	}
	trace := traceID(x.in.Header)
	method := series.Request(x.in.Method, x.out.status, x.problem, took, trace)
	line := x.proxy.config.Log.Info()
	if line == nil {
		return
	}
	line.Str("route", name).Str("method", method).Int("status", x.out.status).
		Int64("sent", x.out.size).Int64("micros", took.Microseconds())
	if x.caller != "" {
		line.Str("caller", x.caller)
	}
	if trace != "" {
		line.Str("trace_id", trace)
	}
	if x.waited > time.Millisecond {
		line.Int64("token_wait_micros", x.waited.Microseconds())
	}
	if x.problem != "" {
		line.Str("problem", x.problem)
	}
	if x.cause != "" {
		line.Str("cause", x.cause)
	}
	line.Msg("request")
}
