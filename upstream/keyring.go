package upstream

import (
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// retiredFor is how long a public key stays in the JWK Set after another has taken its
// place: the last assertion that was made with it lives for assertionLifetime, and other
// replicas may get the new key up to two minutes later.
const retiredFor = assertionLifetime + 2*time.Minute

// maxRetired bounds how many replaced keys are remembered.
const maxRetired = 8

// keyRing is the private keys of one upstream: the one in use, which may be replaced at any
// time, and the one that will be in use next. It is safe for concurrent use.
type keyRing struct {
	key, next Secret
	alg, id   string

	mu      sync.Mutex // guards the fields below
	text    string     // of the key that was in use when it was looked at last
	inUse   SigningKey
	retired []retiredKey
}

// retiredKey is a key that was in use.
type retiredKey struct {
	public jose.JSONWebKey
	until  time.Time // it stays in the JWK Set
}

// signing returns the key that is in use.
func (r *keyRing) signing() (SigningKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := r.key.Reveal()
	if text == r.text {
		return r.inUse, nil
	}
	key, err := NewSigningKey(text, r.alg, r.id)
	if err != nil {
		return SigningKey{}, err
	}
	if r.text != "" {
		r.retired = append(r.retired, retiredKey{r.inUse.public(), time.Now().Add(retiredFor)})
		r.retired = r.retired[max(0, len(r.retired)-maxRetired):]
	}
	r.text, r.inUse = text, key
	return key, nil
}

// public returns the public keys: of the key in use, of the next one, and of those whose
// assertions may still be under way.
func (r *keyRing) public() []jose.JSONWebKey {
	var set []jose.JSONWebKey
	if key, err := r.signing(); err == nil {
		set = append(set, key.public())
	}
	if r.next.IsSet() {
		if key, err := NewSigningKey(r.next.Reveal(), r.alg, r.id); err == nil {
			set = append(set, key.public())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.retired = slices.DeleteFunc(r.retired, func(k retiredKey) bool { return now.After(k.until) })
	for _, k := range r.retired {
		set = append(set, k.public)
	}
	return set
}
