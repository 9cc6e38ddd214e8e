package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"testing"

	"token-sidecar/upstream/egress"
)

// stalled is a timeout of the kind that net/http makes itself.
type stalled struct{}

func (stalled) Error() string { return "canary" }
func (stalled) Timeout() bool { return true }

func TestConnErrorNamesWhatHappened(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	read := func(err error) error { return &net.OpError{Op: "read", Net: "tcp", Err: err} }
	tests := []struct {
		err  error
		want string
	}{
		{dial(&net.DNSError{Err: "no such host", Name: "canary", IsNotFound: true}), "dns_error"},
		{dial(&net.DNSError{Err: "i/o timeout", Name: "canary", IsTimeout: true}), "dns_timeout"},
		{dial(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), "dns_error"},
		{dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "connection_refused"},
		{dial(os.NewSyscallError("socket", syscall.EMFILE)), "connection_limit_reached"},
		{dial(os.NewSyscallError("connect", syscall.ENETUNREACH)), "destination_ip_unroutable"},
		{dial(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), "destination_ip_unroutable"},
		{dial(os.NewSyscallError("connect", syscall.ETIMEDOUT)), "connection_timeout"},
		{dial(context.DeadlineExceeded), "connection_timeout"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "tls_certificate_error"},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "canary"}}, "tls_certificate_error"},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: handshake failure")}, "tls_alert_received"},
		{tls.RecordHeaderError{Msg: "canary"}, "tls_protocol_error"},
		{&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}, "tls_protocol_error"},
		{errors.New("tls: server selected unsupported protocol version 301"), "tls_protocol_error"},
		{context.DeadlineExceeded, "http_response_timeout"},
		{os.ErrDeadlineExceeded, "http_response_timeout"},
		{read(os.ErrDeadlineExceeded), "http_response_timeout"},
		{stalled{}, "http_response_timeout"},
		{io.EOF, "connection_terminated"},
		{io.ErrUnexpectedEOF, "connection_terminated"},
		{read(os.NewSyscallError("read", syscall.ECONNRESET)), "connection_terminated"},
		{&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, "connection_terminated"},
		{net.ErrClosed, "connection_terminated"},
		{&egress.Error{Status: 407}, "egress_proxy_answered_407"},
		{&egress.Error{}, "egress_proxy_unreachable"},
		{http.ErrSchemeMismatch, "http_protocol_error"},
		{errors.New("canary"), "http_protocol_error"},
	}
	for _, tt := range tests {
		for _, err := range []error{tt.err, &url.Error{Op: "Post", URL: "https://canary", Err: tt.err}, fmt.Errorf("canary: %w", tt.err)} {
			if got := ConnError(err); got != tt.want {
				t.Errorf("%T %v is %s, want %s", err, err, got, tt.want)
			}
		}
	}
}
