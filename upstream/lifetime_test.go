package upstream

import (
	"math"
	"net/http"
	"testing"
	"time"
)

const longest = 24 * time.Hour

// Case C1.
func TestOddLifetimesAreBounded(t *testing.T) {
	tests := []struct {
		expires string // the member with its comma; empty: none
		want    time.Duration
	}{
		{`"expires_in":3600,`, time.Hour},
		{`"expires_in":"3600",`, time.Hour},
		{`"expires_in" : 3600 ,`, time.Hour},
		{`"expires_in":3600.0,`, time.Hour},
		{`"expires_in":3.6e3,`, time.Hour},
		{`"expires_in":"3.6e3",`, time.Hour},
		{`"expires_in":"\u0033600",`, time.Hour},
		{`"expires_in":1,`, time.Second},
		{`"expires_in":1.5,`, 1500 * time.Millisecond},
		{`"expires_in":86399,`, longest - time.Second},
		{`"expires_in":86400,`, longest},
		{`"expires_in":86401,`, longest},
		{`"expires_in":9223372037,`, longest}, // times a second, it overflows a Duration
		{`"expires_in":1e18,`, longest},
		{`"expires_in":1e400,`, longest}, // overflows a float
		{`"expires_in":null,`, 10 * time.Minute},
		{`"expires_in" : null ,`, 10 * time.Minute},
		{``, 10 * time.Minute},

		{`"expires_in":0,`, 0},
		{`"expires_in":-0,`, 0},
		{`"expires_in":0.9,`, 0},
		{`"expires_in":1e-400,`, 0},
		{`"expires_in":-1,`, 0},
		{`"expires_in":-9e18,`, 0},
		{`"expires_in":-1e400,`, 0},
		{`"expires_in":"3600s",`, 0},
		{`"expires_in":" 3600",`, 0},
		{`"expires_in":"0x10",`, 0},
		{`"expires_in":"1_000",`, 0},
		{`"expires_in":"inf",`, 0},
		{`"expires_in":"NaN",`, 0},
		{`"expires_in":"-",`, 0},
		{`"expires_in":"canary",`, 0},
		{`"expires_in":"",`, 0},
		{`"expires_in":true,`, 0},
		{`"expires_in":[],`, 0},
		{`"expires_in":[3600],`, 0},
		{`"expires_in":{},`, 0},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			t.Run(tt.expires, func(t *testing.T) {
				s.answer(reply{body: `{` + tt.expires + `"access_token":"canary","token_type":"bearer"}`})
				before := time.Now()
				token, err := fetch(t, u, "")
				if tt.want == 0 {
					wantMalformed(t, token, err, 200)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := token.Expiry().Sub(token.Issued()); got != tt.want {
					t.Errorf("life is %v, want %v", got, tt.want)
				}
				if token.Issued().Before(before.Round(0)) || token.Issued().After(time.Now()) {
					t.Errorf("issued %v, want when the request began", token.Issued())
				}
			})
		}
	})
}

// A life counts from the start of the request: how long ago the provider
// issued the token before its answer arrived, nobody knows.
func TestLifeCountsFromTheStartOfTheRequest(t *testing.T) {
	var arrived time.Time
	target := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived = time.Now()
		for !time.Now().After(arrived) { // the clock must tell the two apart
		}
		_, _ = w.Write([]byte(`{"access_token":"t","token_type":"bearer","expires_in":60}`))
	})
	token, err := fetch(t, newTestPDX(t, target, nil), "")
	if err != nil {
		t.Fatal(err)
	}
	if token.Issued().After(arrived) || token.Expiry().After(arrived.Add(time.Minute)) {
		t.Errorf("issued %v, but the request arrived at %v", token.Issued(), arrived)
	}
}

func TestDefaultLifetimeIsCutToo(t *testing.T) {
	s := newScripted(t)
	s.answer(reply{body: `{"access_token":"t","token_type":"bearer"}`})
	token, err := fetch(t, newTestPDX(t, s.url, func(c *PDXConfig) { c.DefaultLifetime = 48 * time.Hour }), "")
	if err != nil || token.Expiry().Sub(token.Issued()) != longest {
		t.Errorf("life is %v (%v), want a day", token.Expiry().Sub(token.Issued()), err)
	}
}

func TestExpiresAtGoesByTheProvidersClock(t *testing.T) {
	const date = "Thu, 01 Jan 2026 00:00:00 GMT"
	soon := time.Now().Add(2 * time.Hour).UTC().Truncate(time.Second)
	tests := []struct {
		name, at, date string
		want           time.Duration // zero: malformed; -1: until soon
	}{
		{"by the provider's clock", `"2026-01-01 00:20:00Z"`, date, 20 * time.Minute},
		{"with an offset", `"2026-01-01 01:20:00+01:00"`, date, 20 * time.Minute},
		{"far off", `"9999-01-01 00:00:00Z"`, date, longest},
		{"over at once", `"2026-01-01 00:00:00Z"`, date, 0},
		{"in the past", `"0001-01-01 00:00:00Z"`, date, 0},
		{"by our clock", `"` + soon.Format("2006-01-02 15:04:05Z") + `"`, "", -1},
		{"by our clock, Date is nonsense", `"` + soon.Format("2006-01-02 15:04:05Z") + `"`, "yesterday", -1},
		{"in the past by our clock", `"2020-01-01 00:00:00Z"`, "", 0},
		{"no time", `"canary"`, date, 0},
		{"a number", `1790000000`, date, 0},
		{"null", `null`, date, 10 * time.Minute},
	}
	each(t, func(t *testing.T, s *scripted, u Upstream) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r := reply{body: `{"access_token":"canary","token_type":"bearer","expires_at":` + tt.at + `}`}
				if tt.date != "" {
					r.header = http.Header{"Date": {tt.date}}
				}
				s.answer(r)
				token, err := fetch(t, u, "")
				if tt.want == 0 {
					wantMalformed(t, token, err, 200)
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if tt.want == -1 {
					if off := token.Expiry().Sub(soon); math.Abs(off.Seconds()) > 0.001 {
						t.Errorf("ends %v off", off)
					}
				} else if got := token.Expiry().Sub(token.Issued()); got != tt.want {
					t.Errorf("life is %v, want %v", got, tt.want)
				}
			})
		}
		s.answer(reply{body: `{"access_token":"t","token_type":"bearer","expires_in":60,"expires_at":"2020-01-01 00:00:00Z"}`})
		if token, err := fetch(t, u, ""); err != nil || token.Expiry().Sub(token.Issued()) != time.Minute {
			t.Errorf("expires_in does not come before expires_at: %v", err)
		}
	})
}
