package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cavaliergopher/rpm"
)

// install plays testdata/install.sh and returns what it wrote, by the step that it was in.
func install(t *testing.T, variant string) map[string]string {
	t.Helper()
	needRoot(t)
	need(t, "dpkg", "dpkg")
	need(t, "systemd-analyze", "systemd")
	script, err := filepath.Abs("testdata/install.sh")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(need(t, "unshare", "util-linux"), "--mount", "sh", script, t.TempDir(),
		releaseFile(host.arch+".deb"), variant).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	steps := map[string]string{}
	for _, step := range strings.Split("\n"+string(out), "\n= ")[1:] {
		name, text, _ := strings.Cut(step, "\n")
		steps[name] = text
	}
	return steps
}

// lines fails unless the text has these lines, among others, in this order.
func lines(t *testing.T, text string, want ...string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if len(want) > 0 && strings.TrimSpace(line) == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("no line %q in\n%s", want[0], text)
	}
}

func TestDebIsInstalledUpgradedAndRemoved(t *testing.T) {
	for _, variant := range []string{"plain", "without-sysusers"} {
		t.Run(variant, func(t *testing.T) {
			steps := install(t, variant)
			lines(t, steps["install"],
				"drwxr-xr-x root root /etc/token-sidecar",
				"dr-x------ token-sidecar root /etc/token-sidecar/secrets",
				"-rw-r----- root root /etc/token-sidecar/token-sidecar.env",
				"-rwxr-xr-x root root /usr/bin/token-sidecar",
				"token-sidecar:x:N:N:token-sidecar:/:/usr/sbin/nologin")
			if !strings.Contains(steps["install"], "\ntoken-sidecar 1.0.0 ") {
				t.Error("the program does not tell its version")
			}
			lines(t, steps["install"], "the unit is right")
			// What the operator has changed is kept.
			lines(t, steps["upgrade"], "SIDECAR_LISTEN=127.0.0.1:1")
			lines(t, steps["remove"], "token-sidecar.env")
			lines(t, steps["purge"], "the user stays")
			for line := range strings.Lines(steps["purge"]) {
				if strings.HasPrefix(line, "/") {
					t.Errorf("left after the purge: %s", line)
				}
			}
		})
	}
}

// TestServiceIsRestartedAndStoppedButNeverStarted looks at all calls of systemctl.
func TestServiceIsRestartedAndStoppedButNeverStarted(t *testing.T) {
	steps := install(t, "with-systemd")
	for step, want := range map[string][]string{
		"install": {"systemctl daemon-reload"},
		"upgrade": {"systemctl daemon-reload", "systemctl daemon-reload", "systemctl try-restart token-sidecar.service"},
		"remove":  {"systemctl --no-reload disable --now token-sidecar.service", "systemctl daemon-reload"},
		"purge":   {"systemctl daemon-reload"},
	} {
		var got []string
		for line := range strings.Lines(steps[step]) {
			if strings.HasPrefix(line, "systemctl") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s calls %q, want %q", step, got, want)
		}
	}
}

func TestRPMHasTheSameFilesAsTheDeb(t *testing.T) {
	p, err := rpm.Open(releaseFile(host.arch + ".rpm"))
	if err != nil {
		t.Fatal(err)
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[host.arch]
	if p.Name() != "token-sidecar" || p.Version() != "1.0.0" || p.Release() != "1" || p.Architecture() != arch ||
		p.License() != "MIT" || p.BuildHost() != "localhost" {
		t.Errorf("the rpm is %s-%s-%s of %s for %s, built on %s", p.Name(), p.Version(), p.Release(), p.License(), p.Architecture(), p.BuildHost())
	}
	var got []string
	for _, f := range p.Files() {
		config := ""
		if f.Flags()&rpm.FileFlagConfig != 0 && f.Flags()&rpm.FileFlagNoReplace != 0 {
			config = " config(noreplace)"
		}
		got = append(got, f.Mode().String()+" "+f.Owner()+" "+f.Group()+" "+f.Name()+config)
	}
	want := []string{
		"drwxr-xr-x root root /etc/token-sidecar",
		"dr-x------ token-sidecar root /etc/token-sidecar/secrets",
		"-rw-r----- root root /etc/token-sidecar/token-sidecar.env config(noreplace)",
		"-rwxr-xr-x root root /usr/bin/token-sidecar",
		"-rw-r--r-- root root /usr/lib/systemd/system/token-sidecar.service",
		"-rw-r--r-- root root /usr/lib/sysusers.d/token-sidecar.conf",
		"drwxr-xr-x root root /usr/share/doc/token-sidecar",
		"-rw-r--r-- root root /usr/share/doc/token-sidecar/CHANGELOG.md",
		"-rw-r--r-- root root /usr/share/doc/token-sidecar/README.md",
		"-rw-r--r-- root root /usr/share/doc/token-sidecar/copyright",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the rpm has\n%s", strings.Join(got, "\n"))
	}
	for name, script := range map[string]string{"preinstall.sh": p.PreInstallScript(), "postinstall.sh": p.PostInstallScript(),
		"preremove.sh": p.PreUninstallScript(), "postremove.sh": p.PostUninstallScript()} {
		if script != string(read(t, "scripts/"+name)) {
			t.Errorf("the rpm has another %s:\n%s", name, script)
		}
	}
}

// TestScriptsKnowTheArgumentsOfRPM plays what rpm calls at an installation, an upgrade and a removal, on a
// machine without systemd and on one that has it.
func TestScriptsKnowTheArgumentsOfRPM(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/systemctl", []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ script, argument, want string }{
		{"postinstall.sh", "1", "daemon-reload\n"},
		{"postinstall.sh", "2", "daemon-reload\ntry-restart token-sidecar.service\n"},
		{"preremove.sh", "1", ""},
		{"preremove.sh", "0", "--no-reload disable --now token-sidecar.service\n"},
		{"postremove.sh", "0", "daemon-reload\n"},
	} {
		for systemd, want := range map[string]string{dir: c.want, dir + "/none": ""} {
			text := strings.ReplaceAll(string(read(t, "scripts/"+c.script)), "/run/systemd/system", systemd)
			cmd := exec.Command("sh", "-c", text, c.script, c.argument)
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%s %s, systemd in %s: %q, %v", c.script, c.argument, systemd, out, err)
			}
		}
	}
}

// TestSysusersFileSaysWhatTheScriptDoes compares the two places that name the user.
func TestSysusersFileSaysWhatTheScriptDoes(t *testing.T) {
	var line string
	for l := range strings.Lines(string(read(t, "scripts/sysusers.conf"))) {
		if !strings.HasPrefix(l, "#") {
			line += strings.TrimSpace(l)
		}
	}
	if !strings.Contains(string(read(t, "scripts/preinstall.sh")), "--inline '"+line+"'") {
		t.Errorf("preinstall.sh does not have the line %q", line)
	}
}
