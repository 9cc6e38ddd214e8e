package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// The bounds of the files that settings name, in bytes.
const (
	maxFile   = 64 << 10
	maxBundle = 2 << 20 // of certificates; those of a system have some hundred kilobytes
)

// readSecretFile returns the text of the file at path without one line break
// at its end, which editors and echo add. Everything else is kept.
func readSecretFile(path string) (string, *flaw) {
	text, wrong := readRegularFile(path, maxFile)
	if wrong != nil {
		return "", wrong
	}
	if len(text) == 0 { // as while another program writes it
		return "", &flaw{"names a file that is empty", "write the value into it", true}
	}
	if line, ok := strings.CutSuffix(string(text), "\n"); ok {
		return strings.TrimSuffix(line, "\r"), nil
	}
	return string(text), nil
}

// readRegularFile reads a file of at most limit bytes. Its flaws do not quote the
// path: people put the secret itself there by mistake.
func readRegularFile(path string, limit int64) ([]byte, *flaw) {
	if path == "" {
		return nil, flawf("give it a path or remove it", "is empty")
	}
	// Looked at before opening: a FIFO would block until someone writes to it.
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, unreadable(err)
	case info.IsDir():
		return nil, flawf("name a file in it", "names a directory")
	case !info.Mode().IsRegular():
		return nil, flawf("name a regular file", "names something that is not a file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	switch {
	case err != nil:
		return nil, unreadable(err)
	case int64(len(text)) > limit:
		return nil, flawf("check which file it names", "names a file of more than %d KiB", limit>>10)
	}
	return text, nil
}

// unreadable says that a file cannot be read, with the reason of the system but
// without the path.
func unreadable(err error) *flaw {
	reason := "reading it fails"
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		reason = errno.Error()
	}
	return &flaw{"names a file that cannot be read: " + reason, "check the path and its permissions", true}
}

// addRoots adds the certificates in the PEM file at path to pool. An empty path names
// none.
func addRoots(pool *x509.CertPool, path string) error {
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the roots: %w", err)
	}
	pool.AppendCertsFromPEM(pem)
	return nil
}

// caFileFlaw checks that the file at path has a certificate.
func caFileFlaw(path string) *flaw {
	text, flaw := readRegularFile(path, maxBundle)
	if flaw == nil && !x509.NewCertPool().AppendCertsFromPEM(text) {
		return flawf("give a PEM file with CERTIFICATE blocks", "names a file without a certificate")
	}
	return flaw
}
