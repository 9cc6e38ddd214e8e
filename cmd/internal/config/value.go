package config

import (
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"token-sidecar/proxy"
	"token-sidecar/upstream"
)

// set gives the setting the value that text stands for, if that is one it may have.
func (s setting) set(text string) *flaw {
	value, flaw := parsers[s.value.Type()](text)
	if flaw != nil {
		return flaw
	}
	if choices := s.tag("oneof"); choices != "" && !slices.Contains(strings.Split(choices, ","), text) {
		return flawf("choose one of "+choices, "is not a value this setting takes")
	}
	if most := s.tag("max"); most != "" {
		if flaw := s.outOfRange(value, s.tag("above"), s.tag("min"), most); flaw != nil {
			return flaw
		}
	}
	s.value.Set(value)
	return nil
}

// outOfRange applies the tags above, min and max, which are in the form of the setting
// itself. An empty one bounds nothing.
func (s setting) outOfRange(value reflect.Value, above, least, most string) *flaw {
	compare := func(bound string) float64 {
		limit, _ := parsers[value.Type()](bound)
		return magnitude(value) - magnitude(limit)
	}
	switch {
	case above != "" && compare(above) <= 0:
		return flawf("choose a value up to "+most, "is not above %s", above)
	case least != "" && compare(least) < 0:
		return flawf("choose a value from "+least+" to "+most, "is less than %s", least)
	case compare(most) > 0:
		return flawf("choose a value up to "+most, "is more than %s", most)
	}
	return nil
}

// magnitude returns the number that a value is, as a float.
func magnitude(v reflect.Value) float64 {
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}

// parsers read the text of a setting, by the type of its field.
var parsers = map[reflect.Type]func(string) (reflect.Value, *flaw){
	reflect.TypeFor[string]():          parser(func(s string) (string, *flaw) { return s, nil }),
	reflect.TypeFor[upstream.Secret](): parser(func(s string) (upstream.Secret, *flaw) { return upstream.NewSecret(s), nil }),
	reflect.TypeFor[bool]():            parser(parseBool),
	reflect.TypeFor[int]():             parser(orFlaw(strconv.Atoi, "write it in decimal digits", "is not a whole number")),
	reflect.TypeFor[float64]():         parser(parseFloat),
	reflect.TypeFor[time.Duration]():   parser(orFlaw(time.ParseDuration, "write a number with a unit, such as 500ms, 10s or 2m", "is not a duration")),
	reflect.TypeFor[ByteSize]():        parser(parseByteSize),
	reflect.TypeFor[Rate]():            parser(parseRate),
	reflect.TypeFor[*url.URL]():        parser(parseURL),
	reflect.TypeFor[Listener]():        parser(parseListener),
	reflect.TypeFor[Targets]():         parser(parseTargets),
	reflect.TypeFor[[]string]():        parser(parseList),

	reflect.TypeFor[upstream.SubjectPlace](): parser(parseSubjectPlace),
	reflect.TypeFor[proxy.AllowList]():       parser(parseAllowList),
}

// parser returns parse with its value in the form of the table.
func parser[T any](parse func(string) (T, *flaw)) func(string) (reflect.Value, *flaw) {
	return func(text string) (reflect.Value, *flaw) {
		value, flaw := parse(text)
		return reflect.ValueOf(value), flaw
	}
}

// orFlaw returns parse with its errors, which may quote the text, as flaws.
func orFlaw[T any](parse func(string) (T, error), mend, problem string) func(string) (T, *flaw) {
	return func(text string) (T, *flaw) {
		value, err := parse(text)
		if err != nil {
			return value, flawf(mend, "%s", problem)
		}
		return value, nil
	}
}

// checkText checks the text of a setting by the rule that check names, and
// returns it as it is to be used.
func checkText(check, value string) (string, *flaw) {
	lines := linesChecks[check]
	if lines && strings.Contains(value, "-----BEGIN") && !strings.HasPrefix(value, "{") {
		// One line of an environment file cannot hold the line breaks of PEM.
		value = strings.ReplaceAll(value, `\n`, "\n")
	}
	if lines {
		value = strings.TrimSpace(value)
	}
	switch {
	case value == "":
		return "", flawf("give it a value or remove it", "is empty")
	case !utf8.ValidString(value):
		return "", flawf("check what wrote it", "is not UTF-8 text")
	case strings.TrimFunc(value, blank) == "":
		return "", flawf("give it a value or remove it", "holds nothing but white space")
	case strings.TrimFunc(value, blank) != value:
		return "", flawf("remove it", "has white space around its value")
	case !lines && strings.ContainsFunc(value, unicode.IsControl):
		return "", flawf("check what wrote it", "holds a control character")
	}
	return value, valueChecks[check](value)
}

// linesChecks are the rules of texts of several lines. White space around such a text is
// harmless.
var linesChecks = map[string]bool{"rsakey": true, "signingkey": true, "certificates": true, "claims": true, "callers": true, "tlskey": true}

// blank reports whether r is white space, or the byte order mark that some editors put
// before text.
func blank(r rune) bool { return unicode.IsSpace(r) || r == '\uFEFF' }

// valueChecks are the rules that the tag check names. Each sees the text of
// one setting. They also judge the files of secrets that are rotated.
var valueChecks = map[string]func(string) *flaw{
	"": func(string) *flaw { return nil },
	"assertion": errFlaw("name the file of a signed JWT", func(s string) error {
		_, err := upstream.ParseAssertion(s)
		return err
	}),
	"auditkey":  auditKeyFlaw,
	"auditpath": auditPathFlaw,
	"cafile":    caFileFlaw,
	"callers":   errFlaw("write a name and a token of at least 16 characters on each line", proxy.CheckCallers),
	"certificates": errFlaw("give CERTIFICATE blocks in PEM", func(s string) error {
		_, err := upstream.ParseCertificates(s)
		return err
	}),
	"claims": errFlaw("write a JSON object without the claims that every assertion has", func(s string) error {
		_, err := upstream.ParseClaims(s)
		return err
	}),
	"digits":      digitsFlaw,
	"direct":      directFlaw,
	"egressproxy": egressProxyFlaw,
	"fields": errFlaw("write it as Name=value&Name=value, percent-encoded", func(s string) error {
		_, err := upstream.ParseFields(s)
		return err
	}),
	"grant":     wordFlaw,
	"header":    headerFlaw,
	"hosts":     hostsFlaw,
	"keyring":   func(s string) *flaw { _, flaw := parseKeyRing(s); return flaw },
	"methods":   methodsFlaw,
	"name":      nameFlaw,
	"nid":       nidFlaw,
	"oclcscope": oclcScopeFlaw,
	"params": errFlaw("write it as name=value&name=value, percent-encoded, without what other settings send", func(s string) error {
		_, err := upstream.ParseParams(s)
		return err
	}),
	"redisurl": redisURLFlaw,
	"rsakey": errFlaw("give an unencrypted RSA key of at least 2048 bits in PEM, PKCS#1 or PKCS#8", func(s string) error {
		_, err := upstream.NewSigningKey(s, "RS256", "")
		return err
	}),
	"scope":     scopeFlaw,
	"separator": separatorFlaw,
	"signingkey": errFlaw("give an unencrypted RSA key of at least 2048 bits or EC key, in PEM, as a JWK or as Google's JSON key file", func(s string) error {
		_, err := upstream.NewSigningKey(s, "", "")
		return err
	}),
	"tlskey":   errFlaw("give an unencrypted private key in PEM", readPrivateKey),
	"userpass": userpassFlaw,
	"word":     wordFlaw,
	"words":    wordsFlaw,
}

// wordFlaw checks that the text is one word that can be sent anywhere.
func wordFlaw(s string) *flaw {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return flawf("use printable ASCII without spaces", "is not one word of ASCII")
	}
	return nil
}

// separatorFlaw checks what stands between scopes on the wire.
func separatorFlaw(s string) *flaw {
	if len(s) != 1 || s[0] <= ' ' || s[0] > '~' || strings.ContainsAny(s, `"\`) || unicode.IsLetter(rune(s[0])) || unicode.IsDigit(rune(s[0])) {
		return flawf("give one character such as a comma", "is not one character that can stand between scopes")
	}
	return nil
}

// scopeFlaw checks the form of RFC 6749 section 3.3.
func scopeFlaw(s string) *flaw {
	if !upstream.ValidScope(s) || strings.Contains(s, "  ") {
		return flawf("write scopes of printable ASCII without quote and backslash, one space between them",
			"is not a scope in the form of RFC 6749")
	}
	return nil
}

// oclcScopeFlaw also keeps the context out: it is the subject of a token, and
// hidden in the scope it would not be part of the choice.
func oclcScopeFlaw(s string) *flaw {
	if strings.Contains(" "+s, " context:") {
		return flawf("put the registry id into SIDECAR_OCLC_INSTITUTION", "holds a context")
	}
	return scopeFlaw(s)
}

// digitsFlaw checks the form of a registry id.
func digitsFlaw(s string) *flaw {
	if strings.Trim(s, "0123456789") != "" || len(s) > 20 {
		return flawf("give the registry id, digits only", "is not a number")
	}
	return nil
}

// nidFlaw checks that the text can be a segment of a path as it is.
func nidFlaw(s string) *flaw {
	if strings.Trim(s, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") != "" || len(s) > 64 {
		return flawf("give the NID as Mydex names it, up to 64 letters, digits, dashes and underscores", "is not an NID")
	}
	return nil
}

// headerFlaw checks that the text can be sent in a header field as one word.
func headerFlaw(s string) *flaw {
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return flawf("use printable ASCII without spaces", "cannot be sent in a header")
	}
	return nil
}

// hostsFlaw checks a list of host names and IP addresses.
func hostsFlaw(s string) *flaw {
	items, flaw := parseList(s)
	for i, item := range items {
		if _, err := netip.ParseAddr(item); err != nil && !validHostName(item) {
			return flawf("give host names or IP addresses, without port or wildcard", "holds no host in item %d", i+1)
		}
	}
	return flaw
}

// methodsFlaw checks a list of methods; none stands for an empty one.
func methodsFlaw(s string) *flaw {
	if s == "none" {
		return nil
	}
	known := []string{
		http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut,
		http.MethodDelete, http.MethodPost, http.MethodPatch,
	}
	items, flaw := parseList(s)
	for i, item := range items {
		if !slices.Contains(known, item) {
			return flawf("choose among "+strings.Join(known, ","), "holds no method that can be sent again in item %d", i+1)
		}
	}
	return flaw
}

// reserved are names that people take for endpoints of the sidecar itself, those of its listeners, and
// the route that the series of refused requests have.
var reserved = []string{"oauth2", "token", "metrics", "livez", "readyz", "healthz", "status", "admin", "debug", "data", "jwks", "none"}

// nameFlaw checks the name of a generic upstream, which is also that of its route.
func nameFlaw(s string) *flaw {
	ofProvider := func(p namedProvider) bool { return p.name == s }
	switch {
	case !validName.MatchString(s):
		return flawf("use a lower-case letter, then up to 31 lower-case letters, digits and dashes", "is not a valid name")
	case slices.Contains(reserved, s), slices.ContainsFunc(new(Providers).known(), ofProvider):
		return flawf("choose another", "is a reserved name")
	}
	return nil
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
