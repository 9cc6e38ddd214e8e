package tests

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/strvals"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// flags are what the documents may use of each command. Written down from the
// commands' help; a value follows those that end in "=".
var flags = map[string][]string{
	"docker build":                  {"--build-arg=", "--tag="},
	"docker push":                   {},
	"docker run":                    {"--rm"},
	"helm install":                  {"--namespace=", "--create-namespace", "--set=", "--values=", "--wait"},
	"helm upgrade":                  {"--namespace=", "--install", "--set=", "--values=", "--reuse-values", "--wait"},
	"helm uninstall":                {"--namespace="},
	"helm dependency update":        {},
	"kubectl logs":                  {"--namespace=", "--container=", "--follow"},
	"kubectl get pods":              {"--namespace=", "--selector="},
	"kubectl describe replicaset":   {"--namespace=", "--selector="},
	"kubectl label namespace":       {},
	"kubectl port-forward":          {"--namespace="},
	"kubectl apply":                 {"--namespace=", "--filename=", "--kustomize="},
	"kubectl kustomize":             {},
	"kubectl wait":                  {"--namespace=", "--for=", "--timeout="},
	"kubectl create job":            {"--namespace=", "--from="},
	"kubectl rollout status":        {"--namespace="},
	"kubectl rollout restart":       {"--namespace="},
	"kubectl create secret generic": {"--namespace=", "--from-literal=", "--from-file="},
}

// call is one command line, read by the table above.
type call struct {
	command string
	args    []string
	flags   map[string][]string
}

func parseCall(t *testing.T, line string) call {
	t.Helper()
	c := call{flags: map[string][]string{}}
	var words []string
	fields := strings.Fields(line)
	for i := 0; i < len(fields); i++ {
		word := fields[i]
		if word == ">" {
			i++
			continue
		}
		if !strings.HasPrefix(word, "--") || c.command == "docker run" && len(words) > 0 {
			words = append(words, word)
			if _, ok := flags[strings.Join(words, " ")]; ok && c.command == "" {
				c.command, words = strings.Join(words, " "), nil
			}
			continue
		}
		name, value, given := strings.Cut(word, "=")
		if !given && i+1 < len(fields) && (c.command == "" || slices.Contains(flags[c.command], name+"=")) {
			i++
			value = fields[i]
		}
		c.flags[name] = append(c.flags[name], value)
	}
	c.args = words
	for name := range c.flags {
		if !slices.Contains(flags[c.command], name) && !slices.Contains(flags[c.command], name+"=") {
			t.Errorf("%q has no flag %s: %s", c.command, name, line)
		}
	}
	return c
}

func TestDocsCommands(t *testing.T) {
	annotated := docsFile[apps.Deployment](t, "annotated.yaml")
	objects := names(append(docsManifests(t), &annotated))
	help, err := exec.Command(binary(t), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, b := range blocks(t) {
		if b.language != "sh" {
			continue
		}
		for _, line := range strings.Split(strings.ReplaceAll(b.text, "\\\n", " "), "\n") {
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			seen++
			c := parseCall(t, line)
			switch c.command {
			case "":
				t.Errorf("nothing checks the command %s", line)
			case "docker build":
				checkBuildArgs(t, c)
			case "docker run":
				if !strings.Contains(string(help), "\n  "+c.args[1]+"\n") {
					t.Errorf("there is no subcommand %s", c.args[1])
				}
			case "helm install", "helm upgrade":
				maps.Copy(objects, helmObjects(t, c))
			case "kubectl create secret generic":
				checkSecretKeys(t, c)
			case "kubectl kustomize":
				kustomized(t, c.args[0])
			default:
				for _, dir := range c.flags["--kustomize"] {
					maps.Copy(objects, kustomized(t, dir))
				}
				for _, arg := range append(c.args, c.flags["--from"]...) {
					if workloadName.MatchString(arg) && !objects[arg] {
						t.Errorf("%s: there is no %s but %v", line, arg, slices.Sorted(maps.Keys(objects)))
					}
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands", seen)
	}
}

// kustomized builds the overlay in a directory, in which something must be marked, and returns its workloads.
func kustomized(t *testing.T, dir string) map[string]bool {
	t.Helper()
	objects := onDisk.build(t, root+"/"+dir)
	if len(marked(t, objects)) == 0 {
		t.Errorf("nothing gets the sidecar in %s", dir)
	}
	return names(objects)
}

var workloadName = regexp.MustCompile(`^(deployment|job|cronjob)/`)

// names are the names of workloads, as kubectl takes them.
func names(objects []runtime.Object) map[string]bool {
	found := map[string]bool{}
	for _, object := range objects {
		if podOf(object) != nil {
			kind := object.GetObjectKind().GroupVersionKind().Kind
			found[strings.ToLower(kind)+"/"+object.(meta.Object).GetName()] = true
		}
	}
	return found
}

func checkBuildArgs(t *testing.T, c call) {
	t.Helper()
	dockerfile := string(read(t, root+"/Dockerfile"))
	for _, arg := range c.flags["--build-arg"] {
		name, _, _ := strings.Cut(arg, "=")
		if !strings.Contains(dockerfile, "ARG "+name) {
			t.Errorf("the Dockerfile has no ARG %s", name)
		}
	}
}

// helmObjects renders what helm install would install and returns its Deployments.
func helmObjects(t *testing.T, c call) map[string]bool {
	t.Helper()
	values := map[string]any{}
	for _, set := range c.flags["--set"] {
		if err := strvals.ParseInto(set, values); err != nil {
			t.Errorf("--set %s: %v", set, err)
		}
	}
	for _, file := range c.flags["--values"] {
		maps.Copy(values, docsFile[map[string]any](t, file))
	}
	if c.args[1] == "./shop" {
		return map[string]bool{"deployment/shop": true} // TestChartOfTheDocsRenders has it
	}
	if _, err := os.Stat(filepath.Join(root, c.args[1], "Chart.yaml")); err != nil {
		t.Errorf("no chart at %s", c.args[1])
	}
	loaded := sidecarChart(t)
	if len(c.flags["--reuse-values"]) > 0 {
		_ = strvals.ParseInto("example.enabled=true", values)
	}
	text, err := renderText(loaded, values, kubeVersion)
	if err != nil {
		t.Errorf("helm %v: %v", c.args, err)
		return nil
	}
	names := map[string]bool{}
	for _, o := range decode(t, text) {
		if d, ok := o.(*apps.Deployment); ok {
			// The release is called demo in the tests.
			names["deployment/"+strings.Replace(d.Name, "demo", c.args[0], 1)] = true
		}
	}
	return names
}

// checkSecretKeys makes sure that the Secrets that the documents have made
// hold what their manifests read.
func checkSecretKeys(t *testing.T, c call) {
	t.Helper()
	made := map[string]bool{}
	for _, flag := range []string{"--from-literal", "--from-file"} {
		for _, arg := range c.flags[flag] {
			name, _, _ := strings.Cut(arg, "=")
			made[name] = true
		}
	}
	var needed []string
	need := func(pod *core.PodTemplateSpec) {
		for _, v := range pod.Spec.Volumes {
			if v.Projected == nil {
				continue
			}
			for _, source := range v.Projected.Sources {
				if source.Secret != nil && source.Secret.Name == c.args[0] {
					for _, item := range source.Secret.Items {
						needed = append(needed, item.Key)
					}
				}
			}
		}
	}
	for _, pod := range pods(docsManifests(t)) {
		need(pod)
	}
	for _, values := range docsValues(t) {
		if text, err := renderText(docsChart(t), values, kubeVersion); err == nil {
			for _, pod := range pods(decode(t, text)) {
				need(pod)
			}
		}
	}
	if len(needed) == 0 {
		t.Errorf("nothing reads Secret %s", c.args[0])
	}
	for _, key := range needed {
		if !made[key] {
			t.Errorf("Secret %s is made without %s", c.args[0], key)
		}
	}
}
