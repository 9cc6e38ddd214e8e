package tests

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// secretVolume lays out a directory as the kubelet does, so that one rename
// swaps all files.
func secretVolume(t *testing.T, dir, generation string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, generation), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		write(t, filepath.Join(dir, generation, name), text)
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name))
	}
	if err := os.Symlink(generation, filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

// TestProgramRunsLockedUp runs the program as the chart does: nothing to write to, no
// shell, no rights; and rotates its secret there.
func TestProgramRunsLockedUp(t *testing.T) {
	idp := &provider{life: 3600, secret: "first"}
	server := httptest.NewServer(idp)
	defer server.Close()

	dir := t.TempDir()
	for _, name := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/token-sidecar", read(t, binary(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	volume := dir + "/etc/token-sidecar"
	secretVolume(t, volume, "..1", map[string]string{"OAUTH2_0_CLIENT_SECRET": "first"})

	env := providerEnv(0, "billing", server.URL)
	env["SIDECAR_OAUTH2_0_CLIENT_SECRET_FILE"] = "/etc/token-sidecar/OAUTH2_0_CLIENT_SECRET"
	env["SIDECAR_LISTEN"], env["SIDECAR_ADMIN_LISTEN"], env["SIDECAR_EXPOSE"] = "127.0.0.1:0", ":0", "admin"
	p := start(t, jailed(t, dir), env)

	status := string(read(t, fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)))
	for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532", "Gid:\t65532\t65532\t65532\t65532", "Groups:\t \n",
		"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process does not have %q:\n%s", want, status)
		}
	}
	answers := func() error {
		code, body, err := get(p.data + "/billing/invoices")
		if err == nil && (code != 200 || body != "answer to /invoices") {
			err = fmt.Errorf("%d %s", code, body)
		}
		return err
	}
	eventually(t, answers)
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if code, body, err := get(p.admin + path); code != 200 {
			t.Errorf("%s: %d %v %s", path, code, err, body)
		}
	}
	probe := jailed(t, dir, "healthcheck", "ready")
	env["SIDECAR_ADMIN_LISTEN"] = strings.TrimPrefix(p.admin, "http://")
	for name, value := range env {
		probe.Env = append(probe.Env, name+"="+value)
	}
	if out, err := probe.CombinedOutput(); err != nil {
		t.Errorf("healthcheck: %v %s", err, out)
	}

	// The provider wants another secret, and the volume gets it. A token that the old
	// one bought is no longer good, so that a good answer means a token of the new one.
	idp.setSecret("second")
	secretVolume(t, volume, "..2", map[string]string{"OAUTH2_0_CLIENT_SECRET": "second"})
	eventually(t, func() error {
		_, body, err := get(p.admin + "/metrics")
		if err == nil && !strings.Contains(body, `token_sidecar_secret_reloads_total{outcome="ok"} 1`) {
			err = errors.New("the file was not read again")
		}
		return err
	})
	idp.revoke()
	eventually(t, answers)
	p.stop(t)
}

// jailed returns the program with args as a command that runs in dir.
func jailed(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to take rights away")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = []string{jailVariable + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	return cmd
}
