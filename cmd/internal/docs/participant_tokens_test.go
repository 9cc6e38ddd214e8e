// Package docs runs the code of the pages in docs/ against the real sidecar.
package docs

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"token-sidecar/cache/shared/goredis"
	"token-sidecar/cmd/internal/config"
	"token-sidecar/cmd/internal/sidecar"
	"token-sidecar/metrics"
	"token-sidecar/upstream/upstreamtest"
)

// extract writes the code blocks of a page that name a file into dir.
func extract(t *testing.T, page, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "<!-- code: ")[1:] {
		name, rest, _ := strings.Cut(part, " -->\n")
		_, rest, _ = strings.Cut(rest, "\n") // the fence
		code, _, ok := strings.Cut(rest, "\n```")
		if !ok {
			t.Fatalf("%s: the block %s has no end", page, name)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(code+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// driver plays the page and the SDK: its calls and its event, as in version 5
// of @careevolution/mydatahelps-js.
const driver = `
import { authenticator } from "./authenticator.mjs";
import { startSession } from "./session.mjs";

const signedIn = { "session=alice": "P-alice", "session=nobody": "P-nobody" };
const server = authenticator({ sidecar: process.env.SIDECAR, participantOf: (req) => signedIn[req.headers.cookie] });
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const base = "http://127.0.0.1:" + server.address().port;

function check(ok, what) { if (!ok) { console.error("wrong: " + what); process.exit(1); } }

// The browser sends the cookie of its session and the headers of a browser.
const realFetch = globalThis.fetch;
let cookie = "session=alice";
globalThis.fetch = (url, options = {}) => url.startsWith("/")
  ? realFetch(base + url, { ...options, headers: { Cookie: cookie, Origin: base, "Sec-Fetch-Site": "same-origin" } })
  : realFetch(url, options);

const tokens = [], handlers = {};
const SDK = {
  on(event, handler) { handlers[event] = handler; },
  setParticipantAccessToken(token, baseUrl) {
    check(typeof token.access_token === "string" && token.access_token.length > 8, "access_token");
    check(Number.isInteger(token.expires_in) && token.expires_in >= 1800 && token.expires_in <= 3600, "expires_in " + token.expires_in);
    check(baseUrl === "https://mydatahelps.org/", "base URL");
    tokens.push(token.access_token);
  },
};
await startSession(SDK, { pause: 0 });
check(tokens.length === 1, "one token to begin with");
handlers.tokenWillExpire();
for (let i = 0; tokens.length < 2 && i < 6000; i++) await new Promise((r) => setTimeout(r, 10));
check(tokens.length === 2, "a token after tokenWillExpire");
check(tokens[0] === tokens[1], "a token with half its life left is handed out again");

for (const [who, status] of [["session=nobody", 403], ["", 401]]) {
  cookie = who;
  let failed = "";
  await startSession(SDK, { pause: 0 }).catch((e) => { failed = e.message; });
  check(failed.endsWith(": " + status), who + " got " + failed);
}
server.close();
server.closeAllConnections();
console.log("ok");
`

func TestParticipantTokenPage(t *testing.T) {
	provider := upstreamtest.NewMyDataHelps(upstreamtest.Options{Lifetime: time.Hour, // so that half of it is left on a busy machine too
		KnowsParticipant: func(id string) bool { return id == "P-alice" }})
	defer provider.Close()
	settings, err := config.Parse([]string{
		"SIDECAR_LISTEN=127.0.0.1:0", "SIDECAR_ADMIN_LISTEN=127.0.0.1:0",
		"SIDECAR_VEND=mydatahelps.participant",
		"SIDECAR_MYDATAHELPS_SERVICE_ACCOUNT=" + provider.ClientID(),
		"SIDECAR_MYDATAHELPS_PRIVATE_KEY=" + provider.PrivateKey(),
		"SIDECAR_MYDATAHELPS_TOKEN_URL=" + provider.TokenURL(),
		"SIDECAR_MYDATAHELPS_TARGET=" + provider.APIURL(),
	}, goredis.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Start(settings, zerolog.Nop(), metrics.New("test"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	dir := t.TempDir()
	extract(t, "participant-tokens.md", dir)
	if err := os.WriteFile(filepath.Join(dir, "driver.mjs"), []byte(driver), 0o600); err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "driver.mjs")
	node.Dir = dir
	node.Env = []string{"SIDECAR=http://" + s.Addr("data").String(), "PATH=" + os.Getenv("PATH")}
	node.WaitDelay = time.Second
	out, err := node.CombinedOutput()
	if err != nil || string(out) != "ok\n" {
		t.Fatalf("node: %v\n%s", err, out)
	}
	if n := provider.TokenRequestsFor("P-alice"); n != 1 {
		t.Errorf("%d token requests for one participant, want 1", n)
	}
	// A page that asks the sidecar itself, across sites, gets nothing.
	req, _ := http.NewRequest(http.MethodPost, "http://"+s.Addr("data").String()+"/token/mydatahelps.participant", nil)
	req.Header.Set("X-Token-Subject", "P-alice")
	req.Header.Set("Origin", "https://evil.example")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a browser got %v %v", res.Status, err)
	}
	_ = res.Body.Close()
}
