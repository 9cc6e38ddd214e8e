package sidecar

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/testkit"
	"token-sidecar/metrics"
	"token-sidecar/upstream/upstreamtest"
)

var screenshots = flag.Bool("screenshots", false, "make the pictures of the status page in docs anew")

// TestScreenshotsForTheReadme makes docs/status.png and docs/status-dark.png: the page of a
// sidecar that does well, with all four providers and some requests. make screenshot runs it.
func TestScreenshotsForTheReadme(t *testing.T) {
	if !*screenshots {
		t.Skip("make screenshot runs it")
	}
	hour := upstreamtest.Options{Lifetime: time.Hour, HIP: true}
	redis := testkit.NewRedis(t)
	if err := redis.Start(); err != nil {
		t.Fatal(err)
	}
	seal := sha256.Sum256([]byte("of a picture"))
	mydatahelps, pdx := testkit.Closing(t, upstreamtest.NewMyDataHelps(hour)), testkit.Closing(t, upstreamtest.NewPDX(hour))
	oclc, human := testkit.Closing(t, upstreamtest.NewOCLC(hour)), testkit.Closing(t, upstreamtest.NewHumanAPI(hour))
	for i, p := range []*upstreamtest.Server{mydatahelps, pdx, oclc, human} {
		p.SetTokenFault(func(*http.Request, int) *upstreamtest.Answer { // takes a while, as across the Internet
			time.Sleep(time.Duration(87+41*i) * time.Millisecond)
			return nil
		})
	}
	settings := slices.Concat(
		[]string{"LISTEN=127.0.0.1:0", "ADMIN_LISTEN=127.0.0.1:0", "REDIS_URL=" + redis.URL(),
			"REDIS_KEYS=k1:" + base64.StdEncoding.EncodeToString(seal[:])},
		testkit.MyDataHelps(mydatahelps), testkit.PDX(pdx), testkit.OCLC(oclc), testkit.HumanAPI(human))
	parsed, err := config.Parse(testkit.Environ(settings...), goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Start(parsed, zerolog.Nop(), metrics.New("1.0.0"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for n, began := 0, time.Now(); time.Since(began) < 2*time.Minute; n++ { // so that the page has something to tell
		for path, subject := range map[string]string{
			"mydatahelps/api/v1/administration/projects":           "",
			"mydatahelps.participant/api/v1/delegated/participant": fmt.Sprintf("P-%d", 1000+n%12),
			"pdx/api/pds":                  "",
			"oclc/worldcat/manage/bibs/1":  "91475",
			"humanapi/v1/human/activities": fmt.Sprintf("user-%d", n%9),
		} {
			requestForPicture(t, "http://"+s.Addr("data").String()+"/"+path, subject)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b := startBrowser(t)
	b.open("http://" + s.Addr("admin").String() + "/?pause")
	for scheme, file := range map[string]string{"light": "status.png", "dark": "status-dark.png"} {
		b.show(1120, scheme)
		b.screenshotTo("../../../docs/" + file)
		if info, err := os.Stat("../../../docs/" + file); err != nil || info.Size() > 200<<10 {
			t.Errorf("docs/%s is too large, or not there: %v", file, err)
		}
	}
}

// requestForPicture makes one request that succeeds.
func requestForPicture(t *testing.T, url, subject string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	if subject != "" {
		req.Header.Set("X-Token-Subject", subject)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("%s is answered %s", url, res.Status)
	}
}
