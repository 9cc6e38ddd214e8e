package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
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

	"github.com/santhosh-tekuri/jsonschema/v6"
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
	out, err := exec.Command(binary(t), "--help").Output()
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

// TestSchemaFollowsTheSettings keeps the schema's definitions of settings in
// step with the program.
func TestSchemaFollowsTheSettings(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(read(t, chartDir+"/values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	source := func(setting) any { return map[string]any{"$ref": "#/definitions/source"} }
	definitions := schema["definitions"].(map[string]any)
	definitions["settings"] = objectOf(t, valueRule, func(s setting) bool {
		return !s.secret() && !slices.Contains(ofTheChart, s.name)
	})
	definitions["settingsFrom"] = objectOf(t, source, func(s setting) bool { return !slices.Contains(notFrom, s.name) })
	definitions["secrets"] = objectOf(t, valueRule, func(s setting) bool { return s.tag.Get("file") != "" })
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		t.Fatal(err)
	}
	compare(t, chartDir+"/values.schema.json", out.Bytes())
}

// objectOf returns the schema of an object with the settings that take says.
func objectOf(t *testing.T, rule func(setting) any, take func(setting) bool) map[string]any {
	properties, patterns := map[string]any{}, map[string]any{}
	for _, s := range settings(t) {
		if !take(s) {
			continue
		}
		if before, after, ok := strings.Cut(s.name, "_n_"); ok {
			patterns["^"+before+"_(0|[1-9][0-9]?)_"+after+"$"] = rule(s)
		} else {
			properties[s.name] = rule(s)
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false,
		"properties": properties, "patternProperties": patterns}
}

// valueRule is what the schema says of a value. The program says the rest at
// its start; here is what makes a typo show before anything is installed.
func valueRule(s setting) any {
	rule := map[string]any{"description": s.tag.Get("help")}
	choices := s.tag.Get("oneof")
	if s.kind == "bool" {
		choices = "false,true"
	}
	switch {
	case choices != "":
		var all []any
		for _, choice := range strings.Split(choices, ",") {
			all = append(all, choice)
			if choice == "true" || choice == "false" {
				all = append(all, choice == "true") // YAML's own
			}
		}
		rule["enum"] = all
	case s.kind == "int":
		rule["type"], rule["pattern"] = []string{"integer", "string"}, "^[0-9]+$"
	case s.kind == "float64":
		rule["type"], rule["pattern"] = []string{"number", "string"}, "^[0-9]*[.]?[0-9]+$"
	case s.kind == "time.Duration":
		rule["type"], rule["pattern"] = "string", "^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$"
	case s.kind == "ByteSize":
		rule["type"], rule["pattern"] = "string", "^[0-9]+(B|KiB|MiB|GiB)$"
	case s.kind == "Rate":
		rule["type"], rule["pattern"] = "string", "^[0-9]+([.][0-9]+)?/[sm]$"
	default:
		rule["type"], rule["minLength"] = []string{"string", "integer"}, 1
	}
	return rule
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
			all := map[string]any{"example": map[string]any{"enabled": true}, give.under: settings}
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

// schemaOfValues returns what tells whether the chart's schema takes values. Helm asks the
// same library, but reads the schema anew each time.
func schemaOfValues(t *testing.T) func(values map[string]any) bool {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(read(t, chartDir+"/values.schema.json")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("values.schema.json", text); err != nil {
		t.Fatal(err)
	}
	schema := c.MustCompile("values.schema.json")
	return func(values map[string]any) bool {
		plain, err := json.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := jsonschema.UnmarshalJSON(bytes.NewReader(plain))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(decoded) == nil
	}
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
	}
	if choices := s.tag.Get("oneof"); choices != "" {
		return strings.Split(choices, ",")[0]
	}
	return fmt.Sprintf("value-of-%s", strings.ToLower(s.name))
}
