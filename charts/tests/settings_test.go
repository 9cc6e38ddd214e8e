package tests

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// setting is one setting of the program, as the tags of its Config tell it.
// Numbers of lists are "n" in its name.
type setting struct {
	name  string // without SIDECAR_
	kind  string // Go type
	tag   reflect.StructTag
	first bool // of those that its section needs to be on
}

func (s setting) secret() bool { return s.kind == "upstream.Secret" }

// file says how a file can give the setting: "rotates" or "start" with the
// text of X_FILE, "path" where the setting itself names a file, "" not at all.
func (s setting) file() string {
	if strings.HasSuffix(s.tag.Get("env"), "_FILE") {
		return "path"
	}
	return s.tag.Get("file")
}

// ofTheChart are the settings that the chart gives by itself, because probes,
// ports and the pod depend on them.
var ofTheChart = []string{"ADMIN_LISTEN"}

// notFrom are those that cannot come from a Secret or ConfigMap of the user's.
var notFrom = append([]string{"EXPOSE", "DRAIN_DELAY", "DRAIN_TIMEOUT"}, ofTheChart...)

// settings reads them from the source of the program.
func settings(t *testing.T) []setting {
	t.Helper()
	files, err := filepath.Glob(root + "/cmd/internal/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	set := token.NewFileSet()
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	var list []setting
	var walk func(typeName, prefix string, listed bool)
	walk = func(typeName, prefix string, listed bool) {
		first := true
		for _, field := range structs[typeName].Fields.List {
			tag := reflect.StructTag("")
			if field.Tag != nil {
				text, _ := strconv.Unquote(field.Tag.Value)
				tag = reflect.StructTag(text)
			}
			var b bytes.Buffer
			_ = printer.Fprint(&b, set, field.Type)
			kind := b.String()
			name, leaf := tag.Lookup("env")
			switch {
			case leaf:
				needed := tag.Get("needed") != "" || listed && name == "NAME"
				list = append(list, setting{prefix + name, kind, tag, needed && first})
				first = first && !needed
			case tag.Get("envPrefix") != "" && strings.HasPrefix(kind, "[]"):
				walk(kind[2:], prefix+tag.Get("envPrefix")+"n_", true)
			case tag.Get("envPrefix") != "" || len(field.Names) == 0:
				walk(kind, prefix+tag.Get("envPrefix"), false)
			}
		}
	}
	walk("Config", "", false)
	if len(list) < 50 {
		t.Fatalf("found only %d settings", len(list))
	}
	return list
}

// TestSettingsAreThoseOfTheProgram keeps the reading above honest.
func TestSettingsAreThoseOfTheProgram(t *testing.T) {
	out, err := exec.Command(binary(t), "--help", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	var help, ours []string
	for _, m := range regexp.MustCompile(`(?m)^  SIDECAR_(\S+)(?: \[(file.*)\])?$`).FindAllStringSubmatch(string(out), -1) {
		kind := map[string]string{"file": "start", "file, rotates": "rotates"}[m[2]]
		help = append(help, strings.Replace(m[1], "<n>", "n", 1)+" "+kind)
	}
	for _, s := range settings(t) {
		ours = append(ours, s.name+" "+s.tag.Get("file"))
	}
	if !slices.Equal(help, ours) {
		t.Errorf("settings by --help:\n%s\nby the source:\n%s", strings.Join(help, "\n"), strings.Join(ours, "\n"))
	}
}

// TestSettingsFileOfTheChart keeps files/settings.yaml in step with the program.
func TestSettingsFileOfTheChart(t *testing.T) {
	files, apis := map[string]string{}, []string{}
	for _, s := range settings(t) {
		if s.file() != "" {
			files[s.name] = s.file()
		}
		if s.first && !strings.HasPrefix(s.name, "REDIS_") {
			apis = append(apis, strings.Replace(s.name, "_n_", "_0_", 1))
		}
	}
	text, err := yaml.Marshal(map[string]any{"files": files, "apis": apis})
	if err != nil {
		t.Fatal(err)
	}
	head := "# Made from the program's settings by go test ./... -update in charts/tests.\n" +
		"# files: settings that can come from a file; its text (rotates: while running, start: at start), or its path.\n" +
		"# apis: the setting that turns on each API.\n"
	compare(t, chartDir+"/files/settings.yaml", append([]byte(head), text...))
}

// TestEverySettingReachesTheContainer gives each setting in every way there
// is, and looks for it in the rendered pod. For each way, one chart is rendered with all
// the settings that the schema takes that way.
func TestEverySettingReachesTheContainer(t *testing.T) {
	t.Parallel()
	takes := schemaOfValues(t)
	reached := map[string]bool{}
	for way, give := range map[string]struct {
		under string // key of the values
		more  map[string]any
		as    func(setting) any
	}{
		"settings":          {"settings", nil, sample},
		"secrets":           {"secrets", nil, sample},
		"from a Secret":     {"settingsFrom", nil, func(setting) any { return map[string]any{"secret": "mine", "key": "k"} }},
		"from a ConfigMap":  {"settingsFrom", nil, func(setting) any { return map[string]any{"configMap": "mine"} }},
		"as a variable":     {"settingsFrom", nil, func(setting) any { return map[string]any{"secret": "mine", "as": "env"} }},
		"by existingSecret": {"settingsFrom", map[string]any{"existingSecret": "mine"}, func(setting) any { return map[string]any{} }},
	} {
		given := map[string]any{}
		values := func(settings map[string]any) map[string]any {
			all := map[string]any{"example": map[string]any{"enabled": true}, "settingsFrom": othersNeed(t, settings)}
			if give.under == "settingsFrom" {
				maps.Copy(all["settingsFrom"].(map[string]any), settings)
			} else {
				all[give.under] = settings
			}
			maps.Copy(all, give.more)
			return all
		}
		for _, s := range settings(t) {
			name := strings.Replace(s.name, "_n_", "_0_", 1)
			if takes(values(map[string]any{name: give.as(s)})) {
				given[name] = give.as(s) // else reached must come by another way
			}
		}
		var look func(names []string)
		look = func(names []string) {
			some := map[string]any{}
			for _, name := range names {
				some[name] = given[name]
			}
			objects, err := render(t, values(some))
			if err != nil { // a template refuses one of them: the others are looked at without it
				if half := len(names) / 2; half > 0 {
					look(names[:half])
					look(names[half:])
				}
				return
			}
			env := environ(t, objects, onlyPod(t, objects), t.TempDir())
			for _, name := range names {
				_, plain := env["SIDECAR_"+name]
				_, file := env["SIDECAR_"+name+"_FILE"]
				if !plain && !file {
					t.Errorf("%s given by %s does not reach the container", name, way)
				}
				reached[name] = true
			}
		}
		look(slices.Sorted(maps.Keys(given)))
	}
	for _, s := range settings(t) {
		if name := strings.Replace(s.name, "_n_", "_0_", 1); !reached[name] && !slices.Contains(ofTheChart, s.name) {
			t.Errorf("%s cannot be given", name)
		}
	}
	if len(reached) < 90 {
		t.Errorf("only %d settings were tried: %v", len(reached), slices.Sorted(maps.Keys(reached)))
	}
}

// othersNeed gives what any setting needs beside it, save those that are given.
func othersNeed(t *testing.T, given map[string]any) map[string]any {
	t.Helper()
	from := map[string]any{}
	need := func(name string) {
		if given[name] == nil {
			from[name] = map[string]any{"secret": "others"}
		}
	}
	for _, s := range settings(t) {
		if s.tag.Get("needed") != "" {
			need(s.name)
		}
		if other := s.tag.Get("with"); other != "" {
			need(sectionOf(s) + other)
		}
	}
	for _, name := range []string{"NAME", "TARGET", "CLIENT_ID", "PRIVATE_KEY", "CERT"} {
		need("OAUTH2_0_" + name)
	}
	if given["OAUTH2_0_TOKEN_URL"] == nil {
		need("OAUTH2_0_ISSUER")
	}
	return from
}

// sample is a valid value.
func sample(s setting) any {
	switch s.kind {
	case "int":
		return 10000000
	case "float64":
		return 0.25
	case "time.Duration":
		return "4s"
	case "ByteSize":
		return "32KiB"
	case "Rate":
		return "9/s"
	case "bool":
		return true
	case "*url.URL":
		return "https://a.example"
	case "Targets":
		return "a=https://a.example"
	case "Listener":
		return "127.0.0.1:8081"
	}
	switch s.tag.Get("check") {
	case "digits":
		return "128807"
	case "methods":
		return "GET"
	case "name":
		return "billing"
	case "separator":
		return ","
	}
	if s.name == "EXPOSE" {
		return "admin" // the chart's default wants no less
	}
	if choices := s.tag.Get("oneof"); choices != "" {
		return strings.Split(choices, ",")[0]
	}
	return "value-of-" + strings.ReplaceAll(strings.ToLower(s.name), "_", "-")
}
