package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"token-sidecar/cmd/internal/testkit"
)

// change is one call of onChange.
type change struct {
	variable string
	err      error
}

// watch runs WatchSecrets until the test ends and returns its calls.
func watch(t *testing.T, c *Config, every time.Duration) <-chan change {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes, done := make(chan change, 100), make(chan struct{})
	go func() {
		defer close(done)
		c.watchSecrets(ctx, func(variable string, err error, notTaken int) {
			if len(c.files) == 1 && (err != nil) != (notTaken > 0) {
				t.Errorf("%d files are not taken: %v", notTaken, err)
			}
			changes <- change{variable, err}
		}, every)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return changes
}

// await returns the next change of variable that is or is not an error.
func await(t *testing.T, changes <-chan change, variable string, wantErr bool) error {
	t.Helper()
	for deadline := time.After(time.Minute); ; {
		select {
		case got := <-changes:
			if got.err != nil && strings.Contains(got.err.Error(), testkit.Canary) {
				t.Errorf("error holds a secret: %v", got.err)
			}
			if got.variable == variable && (got.err != nil) == wantErr {
				return got.err
			}
		case <-deadline:
			t.Fatalf("no change of %s came", variable)
		}
	}
}

// mount imitates a Kubernetes secret volume: files are links through ..data.
type mount struct {
	t   *testing.T
	dir string
	n   string
}

func newMount(t *testing.T, files map[string]string) *mount {
	m := &mount{t: t, dir: t.TempDir()}
	m.swap(files)
	for name := range files {
		m.must(os.Symlink(filepath.Join("..data", name), filepath.Join(m.dir, name)))
	}
	return m
}

// swap writes a new directory and renames the link to it over ..data.
func (m *mount) swap(files map[string]string) {
	m.n += "x"
	m.must(os.Mkdir(filepath.Join(m.dir, ".."+m.n), 0o700))
	for name, text := range files {
		m.must(os.WriteFile(filepath.Join(m.dir, ".."+m.n, name), []byte(text), 0o600))
	}
	m.must(os.Symlink(".."+m.n, filepath.Join(m.dir, "..data_tmp")))
	m.must(os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
}

func (m *mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// Case H7.
func TestMountedSecretsRotate(t *testing.T) {
	m := newMount(t, map[string]string{"id": "id1", "secret": "one\n"})
	c := mustParse(t, with([]string{
		"PDX_CLIENT_ID_FILE=" + filepath.Join(m.dir, "id"), "PDX_CLIENT_SECRET_FILE=" + filepath.Join(m.dir, "secret"),
	}))
	held := c.PDX.ClientSecret // a copy, as an upstream holds one
	changes := watch(t, c, 20*time.Millisecond)

	m.swap(map[string]string{"id": "id1", "secret": testkit.Canary + "2\n"})
	await(t, changes, "SIDECAR_PDX_CLIENT_SECRET", false)
	if held.Reveal() != testkit.Canary+"2" {
		t.Error("the copy does not see the new value")
	}

	m.swap(map[string]string{"id": "id1", "secret": testkit.Canary + "3\nhalf\n"})
	err := await(t, changes, "SIDECAR_PDX_CLIENT_SECRET", true)
	var fault Fault
	if !errors.As(err, &fault) || fault.Variable != "SIDECAR_PDX_CLIENT_SECRET_FILE" {
		t.Errorf("error %v does not name the variable", err)
	}
	if held.Reveal() != testkit.Canary+"2" {
		t.Error("a faulty file replaced the value")
	}

	m.swap(map[string]string{"id": "id2", "secret": testkit.Canary + "4"})
	if err := await(t, changes, "SIDECAR_PDX_CLIENT_ID", true); !errors.Is(err, ErrNeedsRestart) {
		t.Errorf("change of the id: %v, want ErrNeedsRestart", err)
	}
	await(t, changes, "SIDECAR_PDX_CLIENT_SECRET", false)
	if held.Reveal() != testkit.Canary+"4" || c.PDX.ClientID != "id1" {
		t.Error("wrong values in use")
	}
}

func TestPlainFilesRotate(t *testing.T) {
	old, next := testkit.PrivateKey(), testkit.NewPrivateKey(2048)
	path := writeFile(t, old)
	c := mustParse(t, with([]string{"MYDATAHELPS_SERVICE_ACCOUNT=a", "MYDATAHELPS_PRIVATE_KEY_FILE=" + path}))
	changes := watch(t, c, 20*time.Millisecond)
	const variable = "SIDECAR_MYDATAHELPS_PRIVATE_KEY"

	if err := os.WriteFile(path, []byte(next[:300]), 0o600); err != nil { // half-written
		t.Fatal(err)
	}
	await(t, changes, variable, true)
	if c.MyDataHelps.PrivateKey.Reveal() != strings.TrimSpace(old) {
		t.Error("half a key replaced the old one")
	}
	if err := os.WriteFile(path, []byte(next), 0o600); err != nil { // truncation and write
		t.Fatal(err)
	}
	await(t, changes, variable, false)
	if c.MyDataHelps.PrivateKey.Reveal() != strings.TrimSpace(next) {
		t.Error("the new key is not in use")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await(t, changes, variable, true)
	if err := os.WriteFile(path+".new", []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil { // rename over
		t.Fatal(err)
	}
	await(t, changes, variable, false)
	if c.MyDataHelps.PrivateKey.Reveal() != strings.TrimSpace(old) {
		t.Error("the renamed file is not in use")
	}
}

func TestPollingFindsWhatWatchesMiss(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "s"), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	c := mustParse(t, with([]string{"PDX_CLIENT_ID=i", "PDX_CLIENT_SECRET_FILE=" + filepath.Join(dir, "s")}))
	changes := watch(t, c, 20*time.Millisecond)
	for _, text := range []string{"two", "three"} { // each time in a new directory
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		await(t, changes, "SIDECAR_PDX_CLIENT_SECRET", true)
		write(text)
		await(t, changes, "SIDECAR_PDX_CLIENT_SECRET", false)
		if got := c.PDX.ClientSecret.Reveal(); got != text {
			t.Errorf("value %q, want %q", got, text)
		}
	}
}

func TestChangeBeforeWatchingIsSeen(t *testing.T) {
	path := writeFile(t, "one")
	c := mustParse(t, with([]string{"PDX_CLIENT_ID=i", "PDX_CLIENT_SECRET_FILE=" + path}))
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, watch(t, c, 20*time.Millisecond), "SIDECAR_PDX_CLIENT_SECRET", false)
}
