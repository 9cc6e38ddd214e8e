package cache

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"slices"

	"token-sidecar/upstream"
)

// tag stands for a key. That two of a million keys have the same is less likely
// than one in 10^26; to compare the keys themselves would take two more turns
// to memory. It is computed by SipHash-2-4 with 128 bits (Aumasson and
// Bernstein, 2012), a pseudorandom function. The code is ours since it must
// take the parts of a key where they lie: what was just copied together cannot
// be read before the memory that the look-up waits for is there.
type tag struct{ lo, hi uint64 }

// First halves of tags that no key has.
const (
	freeTag = iota // nothing was ever here: a search ends
	deadTag        // an entry that is gone was here
	firstTag
)

// tagger makes tags with a secret of its own.
type tagger struct {
	k0, k1 uint64
	known  []prefix // of the keys that come often
}

// prefix is the state of a hash after two of a key's parts.
type prefix struct {
	upstream string
	kind     upstream.Kind
	hash     sipHash
}

// maxKnown bounds the prefixes that each look-up goes through.
const maxKnown = 8

func newTagger(upstreams []upstream.Upstream) tagger {
	var secret [16]byte
	_, _ = rand.Read(secret[:]) // never fails
	g := tagger{k0: binary.LittleEndian.Uint64(secret[:8]), k1: binary.LittleEndian.Uint64(secret[8:])}
	for _, u := range upstreams {
		for _, r := range u.Routes() {
			p := prefix{u.Name(), r.Kind, g.begin(u.Name(), r.Kind)}
			if len(g.known) < maxKnown && !slices.Contains(g.known, p) {
				g.known = append(g.known, p)
			}
		}
	}
	return g
}

// tag hashes the parts of key, each filled up with zeros to whole words, and
// then their lengths, so that no two keys make the same words: upstream and
// kind are names of few bytes, and a scope is shorter than a request's header.
func (g *tagger) tag(key *upstream.Key) tag {
	h := g.prefix(key).text(key.Subject).text(key.Scope)
	lo, hi := h.sum(uint64(len(key.Upstream)) | uint64(len(key.Kind))<<8 | uint64(len(key.Scope))<<16 | uint64(len(key.Subject))<<32)
	return tag{max(lo, firstTag), hi}
}

func (g *tagger) prefix(key *upstream.Key) sipHash {
	for i := range g.known {
		if p := &g.known[i]; p.upstream == key.Upstream && p.kind == key.Kind {
			return p.hash
		}
	}
	return g.begin(key.Upstream, key.Kind)
}

func (g *tagger) begin(name string, kind upstream.Kind) sipHash {
	return newSipHash(g.k0, g.k1).text(name).text(string(kind))
}

// text returns the state after s.
func (h sipHash) text(s string) sipHash {
	for ; len(s) >= 8; s = s[8:] {
		h = h.word(low32(s) | low32(s[4:])<<32)
	}
	if s != "" {
		h = h.word(lowWord(s))
	}
	return h
}

// low32 returns the first four bytes of s.
func low32(s string) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// lowWord returns s, of one to seven bytes, filled up with zeros.
func lowWord(s string) uint64 {
	n := len(s)
	if n >= 4 { // twice four bytes, which overlap
		return low32(s) | low32(s[n-4:])<<(8*uint(n-4)&63)
	}
	return uint64(s[0]) | uint64(s[n/2])<<(8*uint(n/2)&63) | uint64(s[n-1])<<(8*uint(n-1)&63)
}

// sipHash is the state of a hash. As four words of their own its parts stay in
// registers.
type sipHash struct{ a, b, c, d uint64 }

func newSipHash(k0, k1 uint64) sipHash {
	return sipHash{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
}

// word returns the state after the next eight bytes of the message.
func (h sipHash) word(m uint64) sipHash {
	a, b, c, d := sipRound(h.a, h.b, h.c, h.d^m)
	a, b, c, d = sipRound(a, b, c, d)
	return sipHash{a ^ m, b, c, d}
}

// sum returns the hash after a last word. That of the standard has the length
// of the message modulo 256 in its highest byte, and its last bytes in the others.
func (h sipHash) sum(last uint64) (lo, hi uint64) {
	h = h.word(last)
	a, b, c, d := sipRound(h.a, h.b, h.c^0xee, h.d)
	a, b, c, d = sipRound(a, b, c, d)
	a, b, c, d = sipRound(a, b, c, d)
	a, b, c, d = sipRound(a, b, c, d)
	lo = a ^ b ^ c ^ d
	a, b, c, d = sipRound(a, b^0xdd, c, d)
	a, b, c, d = sipRound(a, b, c, d)
	a, b, c, d = sipRound(a, b, c, d)
	a, b, c, d = sipRound(a, b, c, d)
	return lo, a ^ b ^ c ^ d
}

func sipRound(a, b, c, d uint64) (uint64, uint64, uint64, uint64) {
	a += b
	c += d
	b = bits.RotateLeft64(b, 13) ^ a
	d = bits.RotateLeft64(d, 16) ^ c
	c += b
	a = bits.RotateLeft64(a, 32) + d
	return a, bits.RotateLeft64(b, 17) ^ c, bits.RotateLeft64(c, 32), bits.RotateLeft64(d, 21) ^ a
}
