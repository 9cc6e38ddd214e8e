package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

const chartDir = root + "/charts/token-sidecar"

// chart packages the chart as helm package does, with the version of the release: Chart.yaml comes
// first, and what .helmignore names is left out. Helm itself would put the time of now into it.
func (r *release) chart() error {
	text, err := os.ReadFile(chartDir + "/Chart.yaml")
	if err != nil {
		return err
	}
	versions := regexp.MustCompile(`(?m)^(version|appVersion): .*$`)
	if n := len(versions.FindAll(text, -1)); n != 2 {
		return fmt.Errorf("%d lines of Chart.yaml have version or appVersion, and one of each must", n)
	}
	text = versions.ReplaceAll(text, []byte("${1}: "+r.version))
	entries := []entry{{"token-sidecar/Chart.yaml", 0o644, text}}
	patterns, err := ignored()
	if err != nil {
		return err
	}
	// It walks in the order of the names.
	err = fs.WalkDir(os.DirFS(chartDir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || name == ".":
			return err
		case matches(patterns, d) && d.IsDir():
			return fs.SkipDir
		case matches(patterns, d) || d.IsDir() || name == "Chart.yaml":
			return nil
		}
		content, err := os.ReadFile(filepath.Join(chartDir, name))
		entries = append(entries, entry{"token-sidecar/" + name, 0o644, content})
		return err
	})
	if err != nil {
		return err
	}
	return writeTarGz(filepath.Join(r.out, "token-sidecar-"+r.version+".tgz"), entries, r.time)
}

// ignored are the patterns of .helmignore. Those that name a path or an exception are not needed
// until now, and refused.
func ignored() ([]string, error) {
	text, err := os.ReadFile(chartDir + "/.helmignore")
	if err != nil {
		return nil, err
	}
	var patterns []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := path.Match(line, ""); err != nil || strings.HasPrefix(line, "!") || strings.Contains(strings.TrimSuffix(line, "/"), "/") {
			return nil, fmt.Errorf(".helmignore: the pattern %q is not understood", line)
		}
		patterns = append(patterns, line)
	}
	return patterns, nil
}

// matches reports whether a pattern names the file. One that ends in a slash names directories only.
func matches(patterns []string, d fs.DirEntry) bool {
	for _, p := range patterns {
		name, dirOnly := strings.CutSuffix(p, "/")
		if ok, _ := path.Match(name, d.Name()); ok && (d.IsDir() || !dirOnly) {
			return true
		}
	}
	return false
}
