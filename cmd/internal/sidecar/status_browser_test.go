package sidecar

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// browser is a headless Chromium, driven by the DevTools protocol over a pipe.
type browser struct {
	t       *testing.T
	out     *os.File
	session string // of the tab that is driven now

	mu      sync.Mutex // guards all below, and writes to out
	calls   int
	answers map[int]chan cdpMessage
	loads   map[string]int // of pages, so far, by the session of their tab
	faults  []string       // what the browser complained of
}

type cdpMessage struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *cdpError       `json:"error,omitempty"`
}

type cdpError struct{ Message string }

// browserPatience finds a browser that hangs, on a machine that is busy with other
// things too.
const browserPatience = 2 * testkit.Patience

// startBrowser runs Chromium until the test ends.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	profile, err := os.MkdirTemp("", "status-browser-") // not t.TempDir: helpers may write to it a little longer
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless=new", "--remote-debugging-pipe", "--user-data-dir="+profile, "--no-sandbox",
		"--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--no-proxy-server", "--hide-scrollbars", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // file descriptors 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("chromium: %v; make test installs it", err)
	}
	_, _ = theirIn.Close(), theirOut.Close()
	b := &browser{t: t, out: ourOut, answers: map[int]chan cdpMessage{}, loads: map[string]int{}}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(ourIn) })
	t.Cleanup(func() {
		b.session = ""
		_, _ = b.try("Browser.close", nil)
		force := time.AfterFunc(browserPatience, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		_ = cmd.Wait()
		force.Stop()
		_, _ = ourOut.Close(), ourIn.Close()
		reading.Wait()
	})
	b.openTab()
	return b
}

// openTab attaches to a new tab, which is driven from now on, and listens for all that
// can go wrong in it.
func (b *browser) openTab() {
	b.t.Helper()
	var target struct{ TargetID, SessionID string }
	b.session = "" // of the browser itself
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	b.session = target.SessionID
	b.call("Page.bringToFront", nil, nil) // else nothing of it is painted
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Audits"} {
		b.call(domain+".enable", nil, nil)
	}
}

// read takes in answers and events until the pipe ends.
func (b *browser) read(in *os.File) {
	for r := bufio.NewReader(in); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m cdpMessage
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if answer := b.answers[m.ID]; m.ID != 0 && answer != nil {
			delete(b.answers, m.ID)
			answer <- m
		}
		switch m.Method {
		case "Page.loadEventFired":
			b.loads[m.SessionID]++
		case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded", "Network.loadingFailed":
			b.faults = append(b.faults, m.Method+" "+string(m.Params))
		}
		b.mu.Unlock()
	}
}

// try makes one call and waits for its answer.
func (b *browser) try(method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		raw = []byte("{}")
	}
	answer := make(chan cdpMessage, 1)
	b.mu.Lock()
	b.calls++
	id := b.calls
	b.answers[id] = answer
	text, err := json.Marshal(cdpMessage{ID: id, SessionID: b.session, Method: method, Params: raw})
	if err == nil {
		_, err = b.out.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(browserPatience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

// call is try that must succeed; the result goes to result unless that is nil.
func (b *browser) call(method string, params map[string]any, result any) {
	b.t.Helper()
	raw, err := b.try(method, params)
	if err == nil && result != nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// open loads url and waits until all of it is there.
func (b *browser) open(url string) {
	b.t.Helper()
	before := b.loaded()
	var nav struct{ ErrorText string }
	b.call("Page.navigate", map[string]any{"url": url}, &nav)
	if nav.ErrorText != "" {
		b.t.Fatalf("%s: %s", url, nav.ErrorText)
	}
	b.awaitLoad(before)
}

// loaded returns how many pages the tab has loaded.
func (b *browser) loaded() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.loads[b.session]
}

// awaitLoad waits for a load after the first n.
func (b *browser) awaitLoad(n int) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), browserPatience)
	defer cancel()
	for b.loaded() <= n {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			b.t.Fatal("the page does not load")
		}
	}
}

// eval runs a JavaScript expression in the page.
func (b *browser) eval(expression string, result any) {
	b.t.Helper()
	params := map[string]any{"expression": expression, "returnByValue": true, "userGesture": true}
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	raw, err := b.try("Runtime.evaluate", params)
	for deadline := time.Now().Add(browserPatience); err != nil && strings.Contains(err.Error(), "navigated") && time.Now().Before(deadline); {
		// The page has loaded itself again at that moment. The next one is asked.
		raw, err = b.try("Runtime.evaluate", params)
	}
	if err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	if err != nil {
		b.t.Fatalf("%.80s: %v", expression, err)
	}
	if answer.ExceptionDetails != nil {
		b.t.Fatalf("%.80s: %s", expression, answer.ExceptionDetails)
	}
	if err := json.Unmarshal(answer.Result.Value, result); err != nil {
		b.t.Fatalf("%.80s: %v", expression, err)
	}
}

// show makes the window width pixels wide, in the light or the dark scheme.
func (b *browser) show(width int, scheme string) {
	b.t.Helper()
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1,
		"mobile": width < 600}, nil)
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// screenshot writes the whole page to screenshots/name.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	b.screenshotTo(filepath.Join("screenshots", name))
}

// screenshotTo writes the whole page to a file.
func (b *browser) screenshotTo(path string) {
	b.t.Helper()
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &shot)
	image, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, image, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// complaints returns what the browser found wrong so far.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.faults...)
}
