package shared

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"token-sidecar/upstream"
)

// SealKey is one key of the ring that seals shared values.
type SealKey struct {
	ID  string          // tells the keys of a ring apart, and stands in each value; it is no secret
	Key upstream.Secret // 32 bytes, for AES-256
}

// sealer names and seals shared values. It never changes.
type sealer struct {
	seals string                 // id of the key that seals
	opens map[string]cipher.AEAD // all keys of the ring, by id
	names []byte                 // key of the HMAC that makes the names
}

// newSealer takes the ring: its first key seals, and all of them open.
func newSealer(ring []SealKey) (*sealer, error) {
	if len(ring) == 0 {
		return nil, errors.New("the key ring is empty")
	}
	s := &sealer{seals: ring[0].ID, opens: map[string]cipher.AEAD{}}
	first := ring[0]
	for _, k := range ring {
		block, err := aes.NewCipher([]byte(k.Key.Reveal()))
		if err != nil {
			return nil, fmt.Errorf("key %s of the ring does not have 32 bytes", k.ID)
		}
		// Nonces are random: 96 bits are enough for 2^32 values under one key
		// (NIST SP 800-38D section 8.3), 40 years of four a second.
		if s.opens[k.ID], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("key %s of the ring: %w", k.ID, err)
		}
		if k.ID < first.ID {
			first = k
		}
	}
	// Names depend on the ring but not on its order, so that replicas find each
	// other's values while a new first key is rolled out.
	var err error
	s.names, err = hkdf.Key(sha256.New, []byte(first.Key.Reveal()), nil, "token-sidecar names", sha256.Size)
	return s, err
}

// Place is where the token of one key is shared, and the lease under which that
// token is fetched. [Store.Place] makes it, and it never changes.
type Place struct {
	value, lease string // names in Redis; their common hash tag keeps them on one node of a cluster
	bound        []byte // what the value must be sealed for, as additional data of the AEAD
}

// place names a key under a credential: with another client id, secret or
// token endpoint it is another place, so that environments never mix. A name
// is a keyed hash and tells nothing.
func (s *sealer) place(credential upstream.Fingerprint, key upstream.Key) Place {
	bound := key.AppendCanonical(credential[:])
	mac := hmac.New(sha256.New, s.names)
	mac.Write(bound)
	tag := "token-sidecar:{" + hex.EncodeToString(mac.Sum(nil)[:20]) + "}"
	return Place{value: tag + ":token", lease: tag + ":lease", bound: bound}
}

// boundTo returns the additional data of a value that has this head and is at p.
func (p Place) boundTo(head []byte) []byte { return slices.Concat(head, p.bound) }

const sealVersion = 1

// maxSealed bounds a sealed value, in bytes: the longest token, scope and the rest.
const maxSealed = 24 << 10

// seal returns the value to store for t: one byte of version, one byte with the
// length of the key's id, that id, the nonce, and the ciphertext. Only holders of
// the ring can open it, and only as the value of p.
func (s *sealer) seal(p Place, t upstream.Token) []byte {
	plain := binary.AppendVarint(nil, t.Issued().UnixNano())
	plain = binary.AppendVarint(plain, t.Expiry().UnixNano())
	plain = binary.AppendUvarint(plain, uint64(len(t.Scope())))
	plain = append(plain, t.Scope()...)
	plain = append(plain, t.AccessToken()...)
	head := append([]byte{sealVersion, byte(len(s.seals))}, s.seals...)
	return s.opens[s.seals].Seal(head, nil, plain, p.boundTo(head))
}

var errSealed = errors.New("the shared value does not open")

// open is the inverse of seal. It fails for whatever seal did not make for p.
func (s *sealer) open(p Place, value []byte) (upstream.Token, error) {
	if len(value) < 2 || len(value) > maxSealed || value[0] != sealVersion || len(value) < 2+int(value[1]) {
		return upstream.Token{}, errSealed
	}
	head, body := value[:2+int(value[1])], value[2+int(value[1]):]
	aead := s.opens[string(head[2:])]
	if aead == nil {
		return upstream.Token{}, errSealed // it was sealed with a key of another ring
	}
	plain, err := aead.Open(nil, nil, body, p.boundTo(head))
	if err != nil {
		return upstream.Token{}, errSealed
	}
	issued, n := binary.Varint(plain)
	expiry, m := binary.Varint(plain[max(n, 0):])
	if n <= 0 || m <= 0 {
		return upstream.Token{}, errSealed
	}
	plain = plain[n+m:]
	scope, n := binary.Uvarint(plain)
	if n <= 0 || scope > uint64(len(plain)-n) {
		return upstream.Token{}, errSealed
	}
	plain = plain[n:]
	return upstream.NewToken(string(plain[scope:]), string(plain[:scope]), time.Unix(0, issued), time.Unix(0, expiry))
}
