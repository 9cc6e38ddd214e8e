package upstream

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// Kind names what sort of token a route needs, such as [KindService].
type Kind string

// The kinds of token that the providers issue.
const (
	KindClient      Kind = "client"      // of the client itself, RFC 6749 section 4.4
	KindService     Kind = "service"     // of a MyDataHelps service account
	KindParticipant Kind = "participant" // of one MyDataHelps participant
	KindAccess      Kind = "access"      // of one Human API user
	KindExchanged   Kind = "exchanged"   // got for a token of the app's user, RFC 8693
)

// Key is all that shapes a token. Two requests may share a token exactly when
// their keys are equal. Only an Upstream's Key method makes keys, so a Key
// holds checked values: Scope is sorted, free of doubles and space-joined.
type Key struct {
	Upstream string
	Kind     Kind
	Subject  string // empty: the client itself; of KindExchanged a keyed hash of the user's token
	Scope    string // RFC 6749 section 3.3
}

// OnDemand reports whether its token can be got only while a request for it is there, since
// that has what the token request needs: see [WithSubjectToken].
func (k Key) OnDemand() bool { return k.Kind == KindExchanged }

// AppendCanonical appends the canonical form of k to dst: each part behind its
// length as a uvarint, so that no two keys have the same form, whatever bytes
// their parts hold.
func (k Key) AppendCanonical(dst []byte) []byte {
	for _, part := range [...]string{k.Upstream, string(k.Kind), k.Subject, k.Scope} {
		dst = binary.AppendUvarint(dst, uint64(len(part)))
		dst = append(dst, part...)
	}
	return dst
}

// Errors of Upstream.Key. Each means that the request, not the provider, is at fault.
var (
	ErrSubjectRequired      = errors.New("this route needs a subject and none was given")
	ErrSubjectInvalid       = errors.New("the subject is not in the form this upstream takes")
	ErrSubjectNotTaken      = errors.New("this route takes no subject")
	ErrSubjectTokenRequired = errors.New("this route exchanges the token of a user and none was given")
	ErrSubjectTokenExpired  = errors.New("the token of the user has expired")
	ErrSubjectTokenInvalid  = errors.New("the token of the user is not in the form of RFC 6750, or is there twice")
	ErrScopeNotAllowed      = errors.New("the scope is not among those configured for this upstream")

	errKindUnknown = errors.New("this upstream has no token of that kind") // no route asks for one
)

// SubjectRule says whether a kind of token is issued on behalf of a subject.
type SubjectRule int

// Whether a request must name a subject, may, or must not, or has a token of it.
const (
	SubjectRefused SubjectRule = iota
	SubjectOptional
	SubjectRequired
	SubjectFromToken // what is given as the subject is a token, to be exchanged for another
)

// kindRule says which keys exist for one kind of token.
type kindRule struct {
	kind           Kind
	subject        SubjectRule
	defaultSubject string
	validSubject   func(string) bool // nil: visibleASCII
	subjectHashKey []byte            // for SubjectFromToken
	scopes         scopeSet
}

// key checks subject and scope as the request gave them. An empty scope means the default.
func (r *kindRule) key(name, subject, scope string) (Key, error) {
	if r.subject == SubjectFromToken {
		return r.exchangedKey(name, subject, scope)
	}
	switch {
	case subject == "" && r.subject == SubjectRequired:
		return Key{}, ErrSubjectRequired
	case subject != "" && r.subject == SubjectRefused:
		return Key{}, ErrSubjectNotTaken
	}
	if subject == "" {
		subject = r.defaultSubject
	} else if !r.subjectOK(subject) {
		return Key{}, ErrSubjectInvalid
	}
	scope, err := r.scopes.choose(scope)
	if err != nil {
		return Key{}, err
	}
	return Key{Upstream: name, Kind: r.kind, Subject: subject, Scope: scope}, nil
}

// maxSubject bounds a subject, in bytes: no provider's identifiers come near it.
const maxSubject = 256

// subjectOK reports whether a subject that was given has the right form.
func (r *kindRule) subjectOK(subject string) bool {
	if len(subject) > maxSubject {
		return false
	}
	if r.validSubject != nil {
		return r.validSubject(subject)
	}
	return visibleASCII(subject)
}

// visibleASCII accepts printable ASCII without space, comma and quote: the
// bytes that survive a header field as one value (RFC 9110 section 5.5), so
// that a list of two is never taken for one. Bytes are compared as they are:
// no case folding, no Unicode normalization.
func visibleASCII(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ',' || c == '"' {
			return false
		}
	}
	return s != ""
}

// scopeSet is a default scope and what a request may choose instead.
type scopeSet struct {
	standard string          // canonical; used when the request names none
	allowed  map[string]bool // items a request may name
	always   []string        // items that are part of every scope
}

// newScopeSet takes the scope of the settings, what a request may name beside
// it, and what every token request must carry.
func newScopeSet(standard, allowed string, always ...string) scopeSet {
	set := scopeSet{allowed: map[string]bool{}, always: always}
	items := append(strings.Fields(standard), always...)
	set.standard = joinScope(items)
	for _, item := range append(items, strings.Fields(allowed)...) {
		set.allowed[item] = true
	}
	return set
}

// maxScope bounds the scope that a request names, in bytes.
const maxScope = 4096

// choose returns the scope of a token for a request that named scope, sorted and without
// doubles. Each item must be allowed.
func (s scopeSet) choose(scope string) (string, error) {
	if scope == "" {
		return s.standard, nil
	}
	items := strings.Split(scope, " ")
	if len(scope) > maxScope {
		return "", ErrScopeNotAllowed
	}
	for _, item := range items {
		if !s.allowed[item] {
			return "", ErrScopeNotAllowed
		}
	}
	return joinScope(append(items, s.always...)), nil
}

// joinScope sorts items and drops doubles: the order of a scope says nothing
// (RFC 6749 section 3.3), so it must not split the cache.
func joinScope(items []string) string {
	items = slices.Clone(items)
	slices.Sort(items)
	return strings.Join(slices.Compact(items), " ")
}

// ValidScope reports whether every item of scope is in the form of RFC 6749
// section 3.3 (printable ASCII without quote and backslash).
func ValidScope(scope string) bool {
	for i := range len(scope) {
		if c := scope[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
