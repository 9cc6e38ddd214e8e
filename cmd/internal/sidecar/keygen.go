package sidecar

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// keygen prints one new key in the form of SIDECAR_REDIS_KEYS.
func keygen(stdout io.Writer) error {
	var key [32]byte
	_, _ = rand.Read(key[:])
	// The id tells keys apart in a ring; it is no secret.
	_, err := fmt.Fprintf(stdout, "%s:%s\n", strings.ToLower(rand.Text()[:8]), base64.StdEncoding.EncodeToString(key[:]))
	return err
}
