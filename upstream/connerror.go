package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"token-sidecar/upstream/egress"
)

// ConnError names what went wrong with a connection by a proxy error type of
// RFC 9209 section 2.3. It replaces the text of net and net/http errors, which
// quotes URLs, addresses and what the other side sent. What went wrong at the egress proxy
// has names of our own: egress_proxy_unreachable, and egress_proxy_answered_407 with the
// status of its answer in place of 407.
func ConnError(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	var proxy *egress.Error
	switch {
	case errors.As(err, &proxy) && proxy.Status != 0:
		return fmt.Sprintf("egress_proxy_answered_%d", proxy.Status)
	case errors.As(err, &proxy):
		return "egress_proxy_unreachable"
	case errors.As(err, &dns):
		if dns.IsTimeout {
			return "dns_timeout"
		}
		return "dns_error"
	case errors.As(err, &cert):
		return "tls_certificate_error"
	case errors.As(err, &op) && op.Op == "remote error": // crypto/tls; its AlertError is for QUIC alone
		return "tls_alert_received"
	case errors.As(err, &record):
		return "tls_protocol_error"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "connection_limit_reached"
	case errors.As(err, &op) && op.Op == "dial":
		if op.Timeout() {
			return "connection_timeout"
		}
		return "destination_ip_unroutable"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		return "http_response_timeout"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return "connection_terminated"
	case strings.HasPrefix(errText(err), "tls:"):
		return "tls_protocol_error"
	}
	return "http_protocol_error"
}

// isTimeout reports whether err says of itself that it is a timeout.
func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// errText returns the innermost text of err.
func errText(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}
