package tests

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
)

var writeTo = flag.String("write", "", "directory for the manifests that charts/tests/kube gives to a real API server")

// TestRenderedForKube writes what the chart and the documents make of all values, and the
// documents' own manifests, as files {namespace}/{release}.yaml. The module charts/tests/kube
// runs it with -write and creates these objects at a real API server.
func TestRenderedForKube(t *testing.T) {
	dir := *writeTo
	if dir == "" {
		dir = t.TempDir()
	}
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	release := func(c *chart.Chart, values map[string]any, name, namespace string) {
		text, err := renderRelease(c, values, kubeVersion, name, namespace)
		if err != nil {
			t.Fatalf("%s in %s: %v", name, namespace, err)
		}
		put(namespace+"/"+name+".yaml", text)
	}

	put("kube-version", kubeVersion)
	for set := range valueSets(t) {
		release(sidecarChart(t), valueSets(t)[set], "demo", set)
		// A second release in the same namespace shows which names they share. It injects its
		// sidecar for a profile of its own.
		values := valueSets(t)[set]
		if values["fullnameOverride"] != nil {
			continue // the user chose names that are taken
		}
		if inject, ok := values["inject"].(map[string]any); ok {
			inject["profile"] = "other"
		}
		release(sidecarChart(t), values, "other", set)
	}
	release(parent(t, ""), parentValues("token-sidecar"), "demo", "parent")
	release(parent(t, "tokens"), parentValues("tokens"), "demo", "parent-alias")
	for i, values := range docsValues(t) {
		release(docsChart(t), values, "demo", fmt.Sprintf("docs-values-%d", i))
	}
	release(sidecarChart(t), docsFile[map[string]any](t, "tokens.yaml"), "tokens", "tokens")
	put("kustomize/example.yaml", strings.ReplaceAll(onDisk.buildText(t, kustomizeDir+"/example"), "  namespace: shop\n", ""))
	for _, u := range upgrades {
		put("upgrade-"+u.name+"/now.yaml", u.render(t, chartDir))
	}
	manifests := ""
	for _, b := range blocks(t) {
		if b.language == "yaml" && (b.file == "" || b.file == "annotated.yaml") {
			manifests += "---\n" + b.text
		}
	}
	put("shop/docs.yaml", manifests) // they name the namespace shop
}
