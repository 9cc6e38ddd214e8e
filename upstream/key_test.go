package upstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// readCanonical is the inverse of AppendCanonical.
func readCanonical(form []byte) (k Key, ok bool) {
	var parts [4]string
	for i := range parts {
		size, n := binary.Uvarint(form)
		if n <= 0 || size > uint64(len(form)-n) {
			return Key{}, false
		}
		parts[i] = string(form[n : n+int(size)])
		form = form[n+int(size):]
	}
	return Key{parts[0], Kind(parts[1]), parts[2], parts[3]}, len(form) == 0
}

// Parts of few bytes, nearly all of them separators in somebody's naive join,
// so that two keys that differ often have the same bytes in the same order.
func anyKey() *rapid.Generator[Key] {
	short := rapid.StringOfN(rapid.SampledFrom([]rune("a:|/,\x00\x01\x02\n ")), 0, 3, -1)
	part := rapid.OneOf(short, rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 300), func(b []byte) string { return string(b) }))
	return rapid.Custom(func(t *rapid.T) Key {
		return Key{part.Draw(t, "upstream"), Kind(part.Draw(t, "kind")), part.Draw(t, "subject"), part.Draw(t, "scope")}
	})
}

// Case D1.
func TestKeyCanonicalIsInjective(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := anyKey().Draw(t, "k")
		form := k.AppendCanonical(nil)
		if back, ok := readCanonical(form); !ok || back != k {
			t.Fatalf("%q was read back from the form of %q", back, k)
		}
		if other := anyKey().Draw(t, "other"); (other == k) != bytes.Equal(other.AppendCanonical(nil), form) {
			t.Fatalf("%q and %q: equal %t, but not so their forms", k, other, other == k)
		}
		if got := k.AppendCanonical([]byte("before")); string(got) != "before"+string(form) {
			t.Fatal("the form is not appended, or depends on what stands before it")
		}
	})
}

// The same bytes, cut in other places, are other keys.
func TestKeysCutInOtherPlacesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.StringOfN(rapid.SampledFrom([]rune("a:|/,\x00\x01\n ")), 1, 12, -1).Draw(t, "all")
		cut := func(name string) Key {
			var at [3]int
			for i := range at {
				at[i] = rapid.IntRange(append([]int{0}, at[:i]...)[i], len(all)).Draw(t, name)
			}
			return Key{all[:at[0]], Kind(all[at[0]:at[1]]), all[at[1]:at[2]], all[at[2]:]}
		}
		k, other := cut("k"), cut("other")
		if (k == other) != bytes.Equal(k.AppendCanonical(nil), other.AppendCanonical(nil)) {
			t.Fatalf("%q and %q have one form", k, other)
		}
	})
}

func TestFingerprintsOfDifferentPartsDiffer(t *testing.T) {
	seen := map[Fingerprint][]string{}
	for _, parts := range [][]string{
		nil, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"b", "a"}, {"ab", ""}, {"", "ab"}, {"a\x00b"}, {"a:b"}, {"a", "b", ""},
	} {
		f := Config{}.fingerprint(parts...)
		if other, ok := seen[f]; ok {
			t.Errorf("%q and %q have one fingerprint", parts, other)
		}
		seen[f] = parts
	}
	const url = "http://token.example"
	of := func(change func(*OAuth2Config)) Fingerprint { return newTestOAuth2(t, url, change).Fingerprint() }
	standard := of(nil)
	if standard != of(nil) {
		t.Error("the fingerprint of one configuration changes")
	}
	for name, change := range map[string]func(*OAuth2Config){
		"token URL": func(c *OAuth2Config) { c.TokenURL, c.Audience = parseURL(t, url+"/other"), url },
		"audience":  func(c *OAuth2Config) { c.Audience = url + "/other" },
		"method":    func(c *OAuth2Config) { c.Auth = AuthPost },
		"client":    func(c *OAuth2Config) { c.ClientID = "other" },
		"secret":    func(c *OAuth2Config) { c.ClientSecret = NewSecret("other") },
		"key":       func(c *OAuth2Config) { c.PrivateKey = NewSecret("other") },
	} {
		if of(change) == standard {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
	pdxStandard := newTestPDX(t, url, nil).Fingerprint()
	for name, change := range map[string]func(*PDXConfig){
		"token URL": func(c *PDXConfig) { c.TokenURL = parseURL(t, url+"/other") },
		"client":    func(c *PDXConfig) { c.ClientID = "other" },
		"secret":    func(c *PDXConfig) { c.ClientSecret = NewSecret("other") },
	} {
		if newTestPDX(t, url, change).Fingerprint() == pdxStandard {
			t.Errorf("pdx: another %s has the same fingerprint", name)
		}
	}
}

// Case D2.
func TestSubjectsThatLookAlikeAreDifferent(t *testing.T) {
	rule := kindRule{kind: KindAccess, subject: SubjectRequired}
	for _, good := range []string{
		"alice", "Alice", "ALICE", "%41lice", "../x", "*", "{a}", "a:b", "a|b", "q:r", `\`, "alice@example.org",
		"7d0a4c1e-1111-4222-8333-944455556666", "!", "~", strings.Repeat("a", 256),
	} {
		// Taken as it is, byte for byte: no two of these are one subject.
		if k, err := rule.key("p", good, ""); err != nil || k.Subject != good || k.Upstream != "p" || k.Kind != KindAccess {
			t.Errorf("%q: %+v, %v", good, k, err)
		}
	}
	for name, bad := range map[string]string{
		"NFC": "andr\u00e9", "NFD": "andre\u0301", "fullwidth": "\uff41lice", "zero width": "ali\u200bce", "byte order mark": "\ufeffalice",
		"Kelvin sign": "\u212aelvin", "emoji": "\U0001f600", "C1 control": "a\u0085", "no UTF-8": "ali\xffce", "lone byte": "\x80",
		"space after": "alice ", "space before": " alice", "space inside": "a b", "only space": " ", "tab": "a\tb", "no-break space": "a\u00a0b",
		"comma": "alice,bob", "quote": `"alice"`, "NUL": "a\x00b", "CR LF": "a\r\nSET k v", "LF": "a\n", "DEL": "a\x7f",
		"257 bytes": strings.Repeat("a", 257),
	} {
		if k, err := rule.key("p", bad, ""); !errors.Is(err, ErrSubjectInvalid) || k != (Key{}) {
			t.Errorf("%s: %+v, %v", name, k, err)
		}
	}
}

func TestRuleOfAKindDecidesOnSubjects(t *testing.T) {
	short := func(s string) bool { return len(s) < 3 || len(s) > 256 }
	for _, tt := range []struct {
		rule    *kindRule
		subject string
		want    string
		err     error
	}{
		{&kindRule{}, "", "", nil},
		{&kindRule{}, "alice", "", ErrSubjectNotTaken},
		{&kindRule{}, " ", "", ErrSubjectNotTaken},
		{&kindRule{subject: SubjectOptional}, "", "", nil},
		{&kindRule{subject: SubjectOptional, defaultSubject: "home"}, "", "home", nil},
		{&kindRule{subject: SubjectOptional, defaultSubject: "home"}, "alice", "alice", nil},
		{&kindRule{subject: SubjectOptional, defaultSubject: "home"}, "a b", "", ErrSubjectInvalid},
		{&kindRule{subject: SubjectRequired}, "", "", ErrSubjectRequired},
		{&kindRule{subject: SubjectRequired, defaultSubject: "home"}, "", "", ErrSubjectRequired},
		{&kindRule{subject: SubjectRequired, validSubject: short}, "ab", "ab", nil},
		{&kindRule{subject: SubjectRequired, validSubject: short}, "abc", "", ErrSubjectInvalid},
		{&kindRule{subject: SubjectRequired, validSubject: short}, strings.Repeat("a", 257), "", ErrSubjectInvalid},
	} {
		if k, err := tt.rule.key("p", tt.subject, ""); !errors.Is(err, tt.err) || k.Subject != tt.want {
			t.Errorf("%d, default %q, %.9q: %q, %v", tt.rule.subject, tt.rule.defaultSubject, tt.subject, k.Subject, err)
		}
	}
	for _, u := range []Upstream{newTestPDX(t, "http://token.example", nil), newTestOAuth2(t, "http://token.example", nil)} {
		if _, err := u.Key(KindClient, "alice", ""); !errors.Is(err, ErrSubjectNotTaken) {
			t.Errorf("%s takes a subject: %v", u.Name(), err)
		}
	}
}

func TestScopesAreChosenAmongTheAllowed(t *testing.T) {
	const standard, allowed = "write  read read", "admin get:/x"
	shop := newTestOAuth2(t, "http://token.example", func(c *OAuth2Config) { c.Scope, c.AllowedScopes = standard, allowed })
	bare := newTestOAuth2(t, "http://token.example", func(c *OAuth2Config) { c.Scope = "" })
	mydex := newTestPDX(t, "http://token.example", func(c *PDXConfig) { c.Scope, c.AllowedScopes = standard, allowed })
	for _, tt := range []struct {
		u           Upstream
		scope, want string
	}{
		{shop, "", "read write"},
		{shop, "read", "read"},
		{shop, "write read", "read write"},
		{shop, "read write", "read write"},
		{shop, "read read", "read"},
		{shop, "get:/x admin read", "admin get:/x read"},
		{bare, "", ""},
		{mydex, "", "mydex:pdx read write"},
		{mydex, "read", "mydex:pdx read"},
		{mydex, "mydex:pdx", "mydex:pdx"},
		{mydex, "read mydex:pdx", "mydex:pdx read"},
		{newTestPDX(t, "http://token.example", nil), "", "mydex:pdx"},
	} {
		k, err := tt.u.Key(KindClient, "", tt.scope)
		if want := (Key{tt.u.Name(), KindClient, "", tt.want}); err != nil || k != want {
			t.Errorf("%s %q: %+v, %v, want %+v", tt.u.Name(), tt.scope, k, err, want)
		}
	}
	for _, bad := range []string{
		"other", "read other", "Read", "READ", "read  write", " read", "read ", " ", "read\twrite", "\t", "read\n", "read,write",
		"read\x00", "r\u0435ad", "read\u200b", "\xff", "mydex", "get:/X", strings.Repeat("read ", 1000) + "read",
	} {
		for _, u := range []Upstream{shop, mydex, bare} {
			if k, err := u.Key(KindClient, "", bad); !errors.Is(err, ErrScopeNotAllowed) || k != (Key{}) {
				t.Errorf("%s %.20q: %+v, %v", u.Name(), bad, k, err)
			}
		}
	}
}

func TestKeyOfADefaultAllocatesNothing(t *testing.T) {
	for _, u := range []Upstream{newTestPDX(t, "http://token.example", nil), newTestOAuth2(t, "http://token.example", nil)} {
		if n := testing.AllocsPerRun(100, func() { _, _ = u.Key(KindClient, "", "") }); n != 0 {
			t.Errorf("%s: %v allocations", u.Name(), n)
		}
	}
}

func TestScopesHaveTheFormOfRFC6749(t *testing.T) {
	for scope, want := range map[string]bool{
		"": true, "read": true, "a b": true, "get:/api/x": true, "!#[]~": true,
		`a"b`: false, `a\b`: false, "a\tb": false, "a\n": false, "\x00": false, "\x7f": false, "é": false,
	} {
		if got := ValidScope(scope); got != want {
			t.Errorf("ValidScope(%q) is %t", scope, got)
		}
	}
	for _, tt := range []struct {
		granted, asked string
		want           bool
	}{
		{"", "a", false}, {"a", "", false}, {"a b", "b a", false}, {"a b c", "a c", false},
		{"a", "a b", true}, {"ab", "a", true}, {"b", "a", true},
	} {
		if got := Narrower(tt.granted, tt.asked); got != tt.want {
			t.Errorf("Narrower(%q, %q) is %t", tt.granted, tt.asked, got)
		}
	}
}
