package sidecar

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// keygen prints one new key for SIDECAR_REDIS_KEYS.
func keygen(args []string, stdout io.Writer) error {
	if len(args) > 0 {
		return &ExitError{exitConfig, "keygen takes no arguments"}
	}
	var key [32]byte
	_, _ = rand.Read(key[:])
	// The id tells keys apart in a ring; it is no secret.
	_, err := fmt.Fprintf(stdout, "%s:%s\n", strings.ToLower(rand.Text()[:8]), base64.StdEncoding.EncodeToString(key[:]))
	return err
}
