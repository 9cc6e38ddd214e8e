package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestArchiveHasProgramAndDocuments(t *testing.T) {
	var names []string
	for _, f := range untarGz(t, releaseFile("linux_"+host.arch+".tar.gz")) {
		names = append(names, f.Name)
		mode := int64(0o644)
		if f.Name == "token-sidecar" {
			mode = 0o755
		} else if !bytes.Equal(f.content, read(t, root+"/"+f.Name)) {
			t.Errorf("%s differs from the source", f.Name)
		}
		if f.Mode != mode || f.Uid != 0 || f.Gid != 0 {
			t.Errorf("%s has mode %o and belongs to %d:%d", f.Name, f.Mode, f.Uid, f.Gid)
		}
	}
	if want := []string{"CHANGELOG.md", "LICENSE", "README.md", "token-sidecar"}; !slices.Equal(names, want) {
		t.Errorf("the archive has %v, want %v", names, want)
	}
	out, err := exec.Command(program(t), "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "token-sidecar 1.0.0 ") {
		t.Errorf("token-sidecar version: %s%v", out, err)
	}
}

// TestSBOMNamesTheModulesOfTheBinary compares with go version -m. A line of it is "dep", path, version and sum.
func TestSBOMNamesTheModulesOfTheBinary(t *testing.T) {
	binary := program(t)
	text, err := exec.Command("go", "version", "-m", binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case fields[0] == binary+":":
			want = append(want, "pkg:golang/std@"+strings.TrimPrefix(fields[1], "go"))
		case fields[0] == "dep":
			want = append(want, "pkg:golang/"+fields[1]+"@"+fields[2])
		case fields[0] == "=>":
			t.Error("go.mod replaces a module: the test does not know that yet")
		}
	}
	var bom struct {
		BOMFormat, SpecVersion, SerialNumber string
		Metadata                             struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Purl, Version string }
	}
	if err := json.Unmarshal(read(t, releaseFile("linux_"+host.arch+".cdx.json")), &bom); err != nil {
		t.Fatal(err)
	}
	for _, c := range bom.Components {
		got = append(got, c.Purl)
	}
	if len(want) < 5 || !slices.Equal(got, want) {
		t.Errorf("the bill of materials names\n%v, the binary\n%v", got, want)
	}
	if bom.BOMFormat != "CycloneDX" || bom.SpecVersion != "1.6" || bom.Metadata.Component.Version != "1.0.0" ||
		!regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(bom.SerialNumber) {
		t.Errorf("the bill of materials has %+v", bom)
	}
}

// TestChartIsTheFolderWithTheVersion; that the folder is a chart is held by charts/tests.
func TestChartIsTheFolderWithTheVersion(t *testing.T) {
	files := untarGz(t, filepath.Join(made, "token-sidecar-1.0.0.tgz"))
	if files[0].Name != "token-sidecar/Chart.yaml" {
		t.Errorf("the archive begins with %s", files[0].Name)
	}
	versions := regexp.MustCompile(`(?m)^(version|appVersion): .*$`)
	if got := versions.FindAllString(string(files[0].content), -1); !slices.Equal(got, []string{"version: 1.0.0", "appVersion: 1.0.0"}) {
		t.Errorf("Chart.yaml has %v", got)
	}
	got := map[string]string{}
	for _, f := range files {
		got[strings.TrimPrefix(f.Name, "token-sidecar/")] = versions.ReplaceAllString(string(f.content), "")
	}
	// What .helmignore names is not in the repository, so these are all files.
	out, err := exec.Command("git", "-C", chartDir, "ls-files").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(out))
	for _, name := range names {
		want := string(read(t, chartDir+"/"+name))
		if name == "Chart.yaml" {
			want = versions.ReplaceAllString(want, "")
		}
		if got[name] != want {
			t.Errorf("%s is missing or differs", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("the archive has %v beside", slices.Sorted(maps.Keys(got)))
	}
}

func TestHelmignoreIsHonoured(t *testing.T) {
	patterns, err := ignored()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, want := range map[string]bool{"values.yaml": false, "values.yaml.orig": true, ".DS_Store": true, "a.tmp": true, ".git": false} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := matches(patterns, entryOf(t, dir, name)); got != want {
			t.Errorf("%s is left out: %t", name, got)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if matches(patterns, entryOf(t, dir, "sub")) || !matches([]string{"sub/"}, entryOf(t, dir, "sub")) {
		t.Error("a pattern with a slash at its end does not name the directory alone")
	}
}

func entryOf(t *testing.T, dir, name string) os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return e.Name() == name })
	return entries[i]
}
