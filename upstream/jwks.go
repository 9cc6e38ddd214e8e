package upstream

import (
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
)

// JWKSet returns the JWK Set (RFC 7517 section 5) of the public halves of all private keys
// that upstreams of the generic kind sign assertions with, each once. Beside the keys in use
// there are the next ones, and for a few minutes those that were replaced. It is nil if there is no such key.
func JWKSet(all []Upstream) []byte {
	set := jose.JSONWebKeySet{}
	seen := map[string]bool{}
	for _, u := range all {
		generic, ok := u.(*oauth2)
		if !ok || generic.keys == nil {
			continue
		}
		for _, key := range generic.keys.public() {
			text, err := key.MarshalJSON()
			if err == nil && !seen[string(text)] {
				seen[string(text)] = true
				set.Keys = append(set.Keys, key)
			}
		}
	}
	if len(set.Keys) == 0 {
		return nil
	}
	text, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		panic("public keys always marshal")
	}
	return append(text, '\n')
}
