package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// PseudonymKey makes pseudonyms of subjects. It is read-only.
type PseudonymKey struct {
	ID  string // tells it from other keys; it is no secret
	key string
}

// errPseudonymKey quotes nothing of the key.
var errPseudonymKey = errors.New("the key of pseudonyms is not id:base64 of 32 bytes")

// ParsePseudonymKey reads a key in the form id:base64, of 32 bytes.
func ParsePseudonymKey(text string) (PseudonymKey, error) {
	id, encoded, _ := strings.Cut(text, ":")
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || id == "" || len(key) != sha256.Size {
		return PseudonymKey{}, errPseudonymKey
	}
	return PseudonymKey{id, string(key)}, nil
}

// Pseudonym returns the HMAC-SHA-256 (RFC 2104) of a subject under the key, in hexadecimal. Who
// has the key can tell whose it is; who has not cannot, and pseudonyms of two keys have nothing in
// common.
func (k PseudonymKey) Pseudonym(subject string) string {
	mac := hmac.New(sha256.New, []byte(k.key))
	mac.Write([]byte(subject))
	return hex.EncodeToString(mac.Sum(nil))
}
