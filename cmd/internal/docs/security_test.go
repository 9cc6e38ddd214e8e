package docs

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the table of cases in docs/security.md")

// cases is what must not be achieved, by a hostile client, provider, cache or
// network. A case without a test has a reason why it does not apply.
var cases = []struct{ id, what, not string }{
	{"A1", "the Connection header names Authorization", ""},
	{"A2", "the client sends its own Authorization", ""},
	{"A4", "the subject is given twice or malformed", ""},
	{"A6", "CONNECT, OPTIONS *, HTTP/2 preface", ""},
	{"A8", "ambiguous framing of requests", ""},
	{"A9", "a token in the query", ""},
	{"A10", "request trailers", ""},
	{"A12", "Expect: 100-continue", ""},
	{"A13", "forged forwarding headers", ""},
	{"A14", "ambiguous framing of answers", ""},
	{"AU1", "what a line of the audit tells", ""},
	{"AU2", "an audit that cannot be written", ""},
	{"AU3", "pseudonyms of two keys", ""},
	{"AU4", "the end of the sidecar in the middle of audited requests", ""},
	{"B1", "paths that leave the base", ""},
	{"B2", "odd but legal paths", ""},
	{"B3", "requests to other hosts", ""},
	{"B4", "DNS rebinding", ""},
	{"B5", "requests of browsers", ""},
	{"B6", "redirects", ""},
	{"B7", "proxy variables", ""},
	{"B10", "routes that are prefixes of each other", ""},
	{"B11", "loops", ""},
	{"B12", "listening on other addresses", ""},
	{"B13", "bad certificates", ""},
	{"B14", "caller token and socket mode", ""},
	{"C1", "odd lifetimes", ""},
	{"C2", "odd token types", ""},
	{"C4", "answers that are not token answers", ""},
	{"C5", "huge, endless and nested answers", ""},
	{"C7", "tokens with forbidden bytes", ""},
	{"C8", "doubled and case-variant members", ""},
	{"C10", "a token for another subject", ""},
	{"C11", "clocks that jump", ""},
	{"C12", "errors that echo the request", ""},
	{"D1", "keys that collide when joined", ""},
	{"D2", "subjects that look alike", ""},
	{"D4", "values that were changed", ""},
	{"D6", "values that were kept and put back", ""},
	{"D7", "rotation of the sealing key", ""},
	{"D8", "repeated nonces", ""},
	{"D9", "readable text in Redis", ""},
	{"D10", "many goroutines, many subjects", ""},
	{"D11", "one subject's refusal blocks another", ""},
	{"D12", "two environments in one Redis", ""},
	{"D13", "answers tell what is cached", ""},
	{"E2", "Redis slow, cut, hung", ""},
	{"E3", "Redis down at start, wrong password or rights", ""},
	{"E4", "the holder of a lease dies", ""},
	{"E6", "Redis failover", ""},
	{"E7", "Redis full", ""},
	{"E8", "Redis flushed, restarted, busy", ""},
	{"E9", "partitions", ""},
	{"E10", "thousands of keys expire together", ""},
	{"E11", "history under random faults", ""},
	{"F1", "many first requests for one key", ""},
	{"F2", "callers leave", ""},
	{"F3", "a load panics", ""},
	{"F5", "token endpoint outages", ""},
	{"F7", "replay after 401", ""},
	{"F8", "lasting refusals", ""},
	{"F9", "an outage across a token's end", ""},
	{"F10", "a token ends before it is sent", ""},
	{"F11", "one provider hangs", ""},
	{"F12", "encodings and assertions", ""},
	{"F13", "chains of tokens", ""},
	{"FTC1", "header fields that the sidecar sets, and the app too", ""},
	{"EXC1", "the tokens of many users that are exchanged at once, and users that are locked out", ""},
	{"EXC2", "a request without the token of its user, or with two, a malformed or an expired one", ""},
	{"EXC3", "the refusal of one user's token, in any form", ""},
	{"EXC4", "the end of the user's own token", ""},
	{"FTC2", "header fields that cannot be had", ""},
	{"FTC3", "a header field that the sidecar set, in headers of answers", ""},
	{"FTC4", "PDX's First Time Connection, of an app that holds no token", ""},
	{"FTC5", "a short access token that cannot be had", ""},
	{"FTC6", "an app that makes its connection headers itself", ""},
	{"G1", "targets that break off", ""},
	{"G3", "event streams", ""},
	{"G4", "large bodies", ""},
	{"G5", "fidelity", ""},
	{"G6", "WebSockets", ""},
	{"G7", "retries of the transport", ""},
	{"G8", "huge response headers", ""},
	{"G10", "harmful response headers", ""},
	{"H1", "SIGTERM with requests under way", ""},
	{"H2", "SIGTERM with hung streams", ""},
	{"H4", "SIGKILL and restart", ""},
	{"H5", "start with everything down", ""},
	{"H6", "admin paths", ""},
	{"H7", "secret files that change", ""},
	{"H8", "soak", ""},
	{"H9", "stop during a refresh", ""},
	{"I1", "canaries at the most verbose level", ""},
	{"I2", "secrets in URLs and errors", ""},
	{"I3", "panics and goroutine dumps", ""},
	{"I4", "Redis error texts", ""},
	{"I5", "labels of metrics", ""},
	{"I6", "errors to the app", ""},
	{"I7", "control bytes in the access log", ""},
	{"I8", "argv, environment, core", ""},
	{"I9", "printing the configuration", ""},
	{"I10", "read-only, non-root", ""},
	{"J1", "a million subjects", ""},
	{"J3", "slow clients", ""},
	{"J4", "few file descriptors", ""},
	{"J5", "cardinality of metrics", ""},
	{"J6", "huge requests", ""},
	{"J7", "HTTP/2 on the listener", ""},
	{"J8", "nobody reads the log", ""},
	{"J9", "a small memory limit", ""},
	{"J10", "many scrapes", ""},
	{"K1", "unknown settings and wrong types", ""},
	{"K2", "unsafe URLs", ""},
	{"K3", "listeners in conflict", ""},
	{"K4", "routes in conflict", ""},
	{"K5", "senseless durations", ""},
	{"K6", "bad key rings", ""},
	{"K7", "bad secret files", ""},
	{"K8", "a default subject", "there is none but OCLC's institution, which belongs to the credential"},
	{"K9", "bad Redis settings", ""},
	{"K10", "toolchain and vet", "held by go.mod and .ci/run"},
	{"P1", "targets that send bytes behind their answers", ""},
	{"P2", "redirects and links that leave the sidecar, or steer to another route or subject", ""},
	{"P3", "bodies that stall, and refusals that wait for them", ""},
	{"P4", "methods that differ from CONNECT or TRACE by case only", ""},
	{"P5", "a target's Connection header names what the sidecar sets", ""},
	{"P6", "Referer: of programs that follow redirects, and of pages", ""},
	{"P7", "informational answers", ""},
	{"P8", "a 401 for want of scope", ""},
	{"P9", "requests that an HTTP/2 target has not processed", ""},
	{"P10", "waits for a place among the requests to a target", ""},
	{"P11", "paths that decode in part only", ""},
	{"P12", "the token, or the sidecar's own names, in headers of answers", ""},
	{"P13", "Expect, and answers that come before the body's end", ""},
	{"P14", "hosts over a Unix socket, hosts that no route has, half-closed clients, idle answers", ""},
	{"P15", "a second SIGTERM", ""},
	{"P16", "chunks of requests that are none", ""},
	{"P17", "heads of requests that other readers might read in another way", ""},
	{"P18", "trailers and framing of answers in disguise", ""},
	{"P19", "requests that are refused before a handler sees them", ""},
	{"P20", "an HTTP/2 target that processes no request", ""},
	{"P21", "apps that do not read their answers", ""},
	{"P22", "answers that break off", ""},
	{"P23", "more connections than files", ""},
	{"R1", "more token requests due than the limit allows", ""},
	{"R2", "a token that a target refused and the provider will not replace", ""},
	{"R3", "one revocation after another", ""},
	{"R4", "a token endpoint that hangs, and a whole fleet that waits", ""},
	{"R5", "replies of Redis larger than any we need", ""},
	{"R7", "a credential that is mended", ""},
	{"R9", "a suspended machine", ""},
	{"R10", "a Redis that is slow", ""},
	{"R11", "clocks of replicas that are hours apart", ""},
	{"R16", "the recovery of a token endpoint", ""},
	{"U1", "a 401 of a token endpoint, with another code than invalid_client, a page or nothing", ""},
	{"U2", "a Redis that cannot be used from the start", ""},
	{"U3", "a person who asks the program how it is used", ""},
	{"U4", "the time of the next attempt in the log", ""},
	{"U5", "what the log says of a failed token request", ""},
	{"U8", "a target that gives no answer", ""},
}

// caseTest finds a test whose doc comment ends in a line such as "Cases A1, B3."
var caseTest = regexp.MustCompile(`(?m)^// Cases? ([A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*)\.\nfunc ((?:Test|Fuzz)\w+)\(`)

// testsByCase finds the tests whose doc comments name the ids of cases.
func testsByCase(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, _ := filepath.Rel(root, filepath.Dir(path))
		for _, m := range caseTest.FindAllStringSubmatch(string(text), -1) {
			for id := range strings.SplitSeq(m[1], ", ") {
				found[id] = append(found[id], fmt.Sprintf("`%s` %s", folder, m[2]))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEveryCaseHasATest writes or compares the table in docs/security.md.
func TestEveryCaseHasATest(t *testing.T) {
	const root, begin, end = "../../..", "<!-- cases: begin -->\n", "<!-- cases: end -->"
	found := testsByCase(t, root)
	var table strings.Builder
	table.WriteString("| case | what | held by |\n|---|---|---|\n")
	for _, c := range cases {
		tests := found[c.id]
		slices.Sort(tests)
		if c.not == "" && len(tests) == 0 {
			t.Errorf("case %s (%s) has no test: no doc comment of one ends in the line \"Case %s.\"", c.id, c.what, c.id)
		}
		held := strings.Join(tests, "<br>")
		if c.not != "" {
			held = "does not apply: " + c.not
		}
		fmt.Fprintf(&table, "| %s | %s | %s |\n", c.id, c.what, held)
		delete(found, c.id)
	}
	for id, tests := range found {
		t.Errorf("%v: no case has the id %s", tests, id)
	}
	file := filepath.Join(root, "docs/security.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), begin)
	got, after, ok := strings.Cut(rest, end)
	switch {
	case !ok:
		t.Fatal("docs/security.md has no marks around the table of cases")
	case got == table.String():
	case *update:
		if err := os.WriteFile(file, []byte(before+begin+table.String()+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the table of cases is out of date; run: go test ./cmd/internal/docs -run EveryCase -update")
	}
}
