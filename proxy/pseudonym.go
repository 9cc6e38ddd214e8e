package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
	"sync"
)

// PseudonymKey makes pseudonyms of subjects. It is safe for concurrent use.
type PseudonymKey struct {
	ID   string     // tells it from other keys; it is no secret
	macs *sync.Pool // of hash.Hash with the key in them, since that is half of the work
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
	return PseudonymKey{id, &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}, nil
}

// Pseudonym returns the HMAC-SHA-256 (RFC 2104) of a subject under the key, in hexadecimal. Who
// has the key can tell whose it is; who has not cannot, and pseudonyms of two keys have nothing in
// common.
func (k PseudonymKey) Pseudonym(subject string) string {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	_, _ = io.WriteString(mac, subject)
	return hex.EncodeToString(mac.Sum(nil))
}
