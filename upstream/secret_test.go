package upstream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

const hidden = "s3cr3tCanary"

// wantHidden checks that text does not hold hidden, nor its bytes in any of
// the ways that fmt and the encoders write them.
func wantHidden(t *testing.T, how, text string) {
	t.Helper()
	raw := []byte(hidden)
	for _, form := range []string{
		hidden, base64.StdEncoding.EncodeToString(raw), fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), fmt.Sprintf("% x", raw),
		strings.Trim(fmt.Sprint(raw), "[]"), strings.Trim(fmt.Sprintf("%#v", raw[:3]), "[]byte{}"), strings.Trim(fmt.Sprintf("%o", raw), "[]"),
	} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the value: %s", how, text)
		}
	}
}

// wantRedacted prints and encodes v, and values that hold it, in every way.
func wantRedacted[T any](t *testing.T, v T) {
	t.Helper()
	type open struct{ V T }
	type closed struct{ v T }
	holders := map[string]any{
		"itself": v, "pointer": &v, "field": open{v}, "unexported field": closed{v}, "pointer to field": &open{v},
		"pointer to unexported field": &closed{v}, "deep": struct{ c []closed }{[]closed{{v}}}, "slice": []T{v}, "map": map[string]T{"k": v},
		"pointer in a slice": []*T{&v}, "interface": []any{v}, "interface in an unexported field": struct{ a any }{v},
	}
	for name, h := range holders {
		for _, verb := range strings.Fields("v +v #v s q x X d o b c e g t U p w T 10s -20v #q +q #x") {
			wantHidden(t, name+" under %"+verb, fmt.Sprintf("%"+verb, h))
		}
		wantHidden(t, name+" under Sprint", fmt.Sprint(h))
		wantHidden(t, name+" as error", fmt.Errorf("%v", h).Error())
		if b, err := json.Marshal(h); err != nil {
			t.Errorf("%s as JSON: %v", name, err)
		} else {
			wantHidden(t, name+" as JSON", string(b))
		}
		if b, err := xml.Marshal(h); err == nil {
			wantHidden(t, name+" as XML", string(b))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", h)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", h, slog.Group("g", "k", h))
		z := zerolog.New(&log)
		z.Info().Interface("k", h).Any("l", h).Fields(map[string]any{"m": h}).Msgf("%v", h)
		wantHidden(t, name+" in a log", log.String())
	}
	for _, verb := range strings.Fields("v +v #v s q x X d") {
		for name, h := range map[string]any{"value": v, "pointer": &v} {
			if got := fmt.Sprintf("%"+verb, h); got != redacted {
				t.Errorf("%s under %%%s is %q", name, verb, got)
			}
		}
	}
	if b, _ := json.Marshal(open{v}); string(b) != `{"V":"[redacted]"}` {
		t.Errorf("JSON is %s", b)
	}
	var log bytes.Buffer
	z := zerolog.New(&log)
	z.Log().Interface("k", v).Msg("")
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", v)
	if n := strings.Count(log.String(), redacted); n != 3 {
		t.Errorf("the log is %s", log.String())
	}
	if text, err := any(v).(interface{ MarshalText() ([]byte, error) }).MarshalText(); err != nil || string(text) != redacted {
		t.Errorf("text is %s, %v", text, err)
	}
	if s := any(v).(fmt.Stringer).String(); s != redacted {
		t.Errorf("string is %s", s)
	}
}

// Case I9.
func TestSecretIsNeverShown(t *testing.T) {
	wantRedacted(t, NewSecret(hidden))
	c := OAuth2Config{ClientSecret: NewSecret(hidden), PrivateKey: NewSecret(hidden)}
	wantHidden(t, "config", fmt.Sprintf("%v %+v %#v", c, c, &c))
	u := newTestOAuth2(t, "http://token.example", func(o *OAuth2Config) { o.ClientSecret = NewSecret(hidden) })
	wantHidden(t, "upstream", fmt.Sprintf("%v %+v %#v", u, u, u))
}

func TestTokenIsNeverShown(t *testing.T) {
	token, err := NewToken(hidden, "read", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	wantRedacted(t, token)
}

func TestSecretReplaceIsSeenByCopies(t *testing.T) {
	a := NewSecret("one")
	b, c := a, struct{ s Secret }{a}
	b.Replace("two")
	if a.Reveal() != "two" || b.Reveal() != "two" || c.s.Reveal() != "two" {
		t.Errorf("copies hold %q, %q, %q", a.Reveal(), b.Reveal(), c.s.Reveal())
	}
	if other := NewSecret("two"); other == a {
		t.Error("two secrets share their value")
	}
}

func TestZeroSecretIsUnset(t *testing.T) {
	var s Secret
	if s.IsSet() || s.Reveal() != "" || NewSecret("").IsSet() || !NewSecret("x").IsSet() {
		t.Error("IsSet is wrong")
	}
	wantRedacted(t, s)
	if err := s.UnmarshalText([]byte(hidden)); err != nil || s.Reveal() != hidden {
		t.Errorf("UnmarshalText: %v", err)
	}
}

// Case C7.
func TestTokenOfForbiddenBytesIsRefused(t *testing.T) {
	now := time.Now()
	token, err := NewToken("abc", "read", now, now.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if token.Authorization() != "Bearer abc" || token.AccessToken() != "abc" || token.Scope() != "read" || token.IsZero() {
		t.Error("the token is not what it was made of")
	}
	begin := now.Round(0).Truncate(time.Microsecond)
	if token.Issued() != begin || token.Expiry() != begin.Add(time.Minute) {
		t.Errorf("life is %v to %v; want it to the microsecond, without the monotonic clock", token.Issued(), token.Expiry())
	}
	same, _ := NewToken("abc", "", now, now)
	other, _ := NewToken("abd", "read", now, now.Add(time.Minute))
	if !token.Same(same) || token.Same(other) || token.Same(Token{}) || !(Token{}).Same(Token{}) {
		t.Error("Same is wrong")
	}
	if zero := (Token{}); !zero.IsZero() || zero.Authorization() != "" || zero.AccessToken() != "" ||
		zero.Scope() != "" || !zero.Issued().IsZero() || !zero.Expiry().IsZero() {
		t.Error("the zero token is one")
	}
	for _, bad := range []string{"", "=", "a b", "a=b", "é", hidden + "\x00", strings.Repeat(hidden, 2000)} {
		token, err := NewToken(bad, "", now, now)
		if err == nil || !token.IsZero() {
			t.Errorf("%.20q is taken", bad)
			continue
		}
		wantHidden(t, "error", err.Error())
	}
}
