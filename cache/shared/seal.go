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
	seals    string                 // id of the key that seals
	opens    map[string]cipher.AEAD // all keys of the ring, by id
	nameKeys [][]byte               // of the HMACs that make the names in Redis; that of the key that seals comes first
	leaseKey []byte                 // of the HMAC that proves that a replica made the owner of a lease
}

// newSealer takes the ring: its first key seals, and all of them open.
func newSealer(ring []SealKey) (*sealer, error) {
	if len(ring) == 0 {
		return nil, errors.New("the key ring is empty")
	}
	s := &sealer{seals: ring[0].ID, opens: map[string]cipher.AEAD{}}
	for _, k := range ring {
		block, err := aes.NewCipher([]byte(k.Key.Reveal()))
		if err != nil || len(k.Key.Reveal()) != 32 {
			return nil, fmt.Errorf("key %s of the ring does not have 32 bytes", k.ID)
		}
		// Nonces are random: 96 bits are enough for 2^32 values under one key
		// (NIST SP 800-38D section 8.3), 34 years of four a second.
		if s.opens[k.ID], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("key %s of the ring: %w", k.ID, err)
		}
		names, err := derive(k, "token-sidecar names 2")
		if err != nil {
			return nil, err
		}
		s.nameKeys = append(s.nameKeys, names)
	}
	var err error
	s.leaseKey, err = derive(ring[0], "token-sidecar leases")
	return s, err
}

func derive(k SealKey, use string) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(k.Key.Reveal()), nil, use, sha256.Size)
}

// Place is where the token of one key is shared, and the lease under which that
// token is fetched. [Store.Place] makes it, and it never changes.
type Place struct {
	value, lease string   // names in Redis; their common hash tag keeps them on one node of a cluster
	hash         string   // what both have in common, in hexadecimal
	others       []string // names of the value under the ring's other keys
	bound        []byte   // what the value must be sealed for, as additional data of the AEAD
	leaseKey     []byte   // see sealer
}

// place names a key under a credential: with another client id, secret or
// token endpoint it is another place, so that environments never mix. A name
// is a keyed hash and tells nothing. It depends on the key that seals; in the midst
// of a rotation, values lie under the names of other keys of the ring, too.
func (s *sealer) place(credential upstream.Fingerprint, key upstream.Key) Place {
	bound := key.AppendCanonical(credential[:])
	hash := hashOf(s.nameKeys[0], bound)
	p := Place{value: tagOf(hash) + ":token", lease: tagOf(hash) + ":lease", hash: hash, bound: bound, leaseKey: s.leaseKey}
	for _, names := range s.nameKeys[1:] {
		p.others = append(p.others, tagOf(hashOf(names, bound))+":token")
	}
	return p
}

func tagOf(hash string) string { return "token-sidecar:{" + hash + "}" }

// hashOf returns what stands in a name for text, under one of sealer.nameKeys.
func hashOf(names, text []byte) string {
	mac := hmac.New(sha256.New, names)
	mac.Write(text)
	return hex.EncodeToString(mac.Sum(nil)[:20])
}

// names returns the names of value and lease.
func (p Place) names() []string { return []string{p.value, p.lease} }

// proof returns 16 bytes by which a replica shows that it made the owner of a lease
// of this place that begins with head.
func (p Place) proof(head []byte) []byte {
	mac := hmac.New(sha256.New, p.leaseKey)
	mac.Write(head)
	mac.Write(p.bound)
	return mac.Sum(nil)[:16]
}

func (p Place) proves(head, proof string) bool {
	return hmac.Equal(p.proof([]byte(head)), []byte(proof))
}

// boundTo returns the additional data of a value that has this head and is at p.
func (p Place) boundTo(head []byte) []byte { return slices.Concat(head, p.bound) }

// sealVersion is 2 since the times inside are of the clock of Redis. Values of
// version 1 lie under other names.
const sealVersion = 2

// maxSealed bounds a sealed value, in bytes: the longest token, scope and the rest.
const maxSealed = 24 << 10

// plainValue is what a shared value says once it is open. Its times are of the clock of Redis, to the
// microsecond.
type plainValue struct {
	access, scope  string
	issued, expiry time.Time
}

// seal returns the value to store for t: one byte of version, one byte with the
// length of the key's id, that id, the nonce, and the ciphertext. Only holders of
// the ring can open it, and only as the value of p.
func (s *sealer) seal(p Place, t plainValue) []byte {
	plain := binary.AppendVarint(nil, t.issued.UnixMicro())
	plain = binary.AppendVarint(plain, t.expiry.UnixMicro())
	plain = binary.AppendUvarint(plain, uint64(len(t.scope)))
	plain = append(plain, t.scope...)
	plain = append(plain, t.access...)
	head := append([]byte{sealVersion, byte(len(s.seals))}, s.seals...)
	return s.opens[s.seals].Seal(head, nil, plain, p.boundTo(head))
}

var errSealed = errors.New("the shared value does not open")

// open is the inverse of seal. It fails for whatever seal did not make for p.
func (s *sealer) open(p Place, value []byte) (plainValue, error) {
	if len(value) < 2 || len(value) > maxSealed || value[0] != sealVersion || len(value) < 2+int(value[1]) {
		return plainValue{}, errSealed
	}
	head, body := value[:2+int(value[1])], value[2+int(value[1]):]
	aead := s.opens[string(head[2:])]
	if aead == nil {
		return plainValue{}, errSealed // it was sealed with a key of another ring
	}
	plain, err := aead.Open(nil, nil, body, p.boundTo(head))
	if err != nil {
		return plainValue{}, errSealed
	}
	issued, n := binary.Varint(plain)
	expiry, m := binary.Varint(plain[max(n, 0):])
	if n <= 0 || m <= 0 {
		return plainValue{}, errSealed
	}
	plain = plain[n+m:]
	scope, n := binary.Uvarint(plain)
	if n <= 0 || scope > uint64(len(plain)-n) {
		return plainValue{}, errSealed
	}
	plain = plain[n:]
	return plainValue{string(plain[scope:]), string(plain[:scope]), time.UnixMicro(issued), time.UnixMicro(expiry)}, nil
}
