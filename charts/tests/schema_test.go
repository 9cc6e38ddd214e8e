package tests

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// TestSchemaFollowsTheSettings keeps the schema's definitions of settings in
// step with the program.
func TestSchemaFollowsTheSettings(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(read(t, chartDir+"/values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	source := func(setting) any { return map[string]any{"$ref": "#/definitions/source"} }
	definitions := schema["definitions"].(map[string]any)
	for name := range definitions { // of settings that may be no more
		if strings.HasPrefix(name, "given ") || strings.HasPrefix(name, "some ") {
			delete(definitions, name)
		}
	}
	definitions["settings"] = objectOf(t, valueRule, func(s setting) bool {
		return !s.secret() && !slices.Contains(ofTheChart, s.name)
	})
	fileRules(t, definitions["settings"].(map[string]any))
	definitions["settingsFrom"] = objectOf(t, source, func(s setting) bool { return !slices.Contains(notFrom, s.name) })
	definitions["secrets"] = objectOf(t, secretRule, func(s setting) bool { return s.tag.Get("file") != "" })
	maps.Copy(definitions, givenDefinitions(t))
	schema["allOf"] = relations(t)
	compare(t, chartDir+"/values.schema.json", []byte(written(t, asJSON(t, schema), "")+"\n"))
}

// asJSON returns a value as JSON has it.
func asJSON(t *testing.T, value any) (decoded any) {
	t.Helper()
	text, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(text, &decoded)
	}
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// written returns JSON of which people can read the differences: what is short is on one line.
func written(t *testing.T, value any, indent string) string {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	var parts []string
	open, end := "[", "]"
	switch v := value.(type) {
	case object:
		open, end = "{", "}"
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, written(t, key, "")+": "+written(t, v[key], indent+"  "))
		}
	case []any:
		for _, item := range v {
			parts = append(parts, written(t, item, indent+"  "))
		}
	}
	if len(parts) == 0 || line.Len()+len(indent) <= 160 {
		return strings.TrimSpace(line.String())
	}
	inner := "\n" + indent + "  "
	return open + inner + strings.Join(parts, ","+inner) + "\n" + indent + end
}

// objectOf returns the schema of an object with the settings that take says.
func objectOf(t *testing.T, rule func(setting) any, take func(setting) bool) map[string]any {
	properties, patterns := map[string]any{}, map[string]any{}
	for _, s := range settings(t) {
		if !take(s) {
			continue
		}
		if before, after, ok := strings.Cut(s.name, "_n_"); ok {
			patterns["^"+before+"_(0|[1-9][0-9]{0,8})_"+after+"$"] = rule(s)
		} else {
			properties[s.name] = rule(s)
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false,
		"properties": properties, "patternProperties": patterns}
}

// fileRules has settings take the paths of files for what comes from a file: files that an agent or
// Kubernetes itself writes and renews, in volumes of the pod.
func fileRules(t *testing.T, rule map[string]any) {
	paths := objectOf(t, func(setting) any { return map[string]any{"type": "string", "pattern": "^/"} }, func(s setting) bool {
		return s.tag.Get("file") != "" && s.tag.Get("file") != "path"
	})
	for name, path := range paths["properties"].(map[string]any) {
		rule["properties"].(map[string]any)[name+"_FILE"] = path
	}
	for pattern, path := range paths["patternProperties"].(map[string]any) {
		rule["patternProperties"].(map[string]any)[strings.TrimSuffix(pattern, "$")+"_FILE$"] = path
	}
}

// valueRule is what the schema says of one value: the program's own rule as far as a schema can
// tell, and never more than that.
func valueRule(s setting) any {
	rule := map[string]any{"description": s.tag.Get("help")}
	choices := s.tag.Get("oneof")
	if s.kind == "bool" {
		choices = "false,true"
	}
	switch {
	case choices != "":
		rule["enum"] = choiceRule(choices)
	case s.kind == "int":
		rule["type"], rule["pattern"] = []string{"integer", "string"}, "^[+]?[0-9]+$"
		bounds(rule, s)
	case s.kind == "float64":
		rule["type"], rule["pattern"] = []string{"number", "string"}, "^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)?$"
		bounds(rule, s)
	case valuePatterns[s.kind] != "":
		rule["type"], rule["pattern"] = "string", valuePatterns[s.kind]
		if least := s.tag.Get("min"); strings.ContainsAny(least, "123456789") {
			rule["not"] = map[string]any{"pattern": "^[^1-9]*$"} // zero
		}
	case s.secret():
		rule["type"], rule["minLength"] = []string{"string", "integer"}, 1
	case checkPatterns[s.tag.Get("check")] != "":
		rule["type"], rule["pattern"] = []string{"string", "integer"}, checkPatterns[s.tag.Get("check")]
		rule["minimum"] = 0 // of what YAML takes for a number
	case s.kind == "[]string", s.kind == "proxy.AllowList":
		rule["type"], rule["pattern"] = "string", list(`[^,\s]([^,]*[^,\s])?`)
	default:
		rule["type"], rule["pattern"] = []string{"string", "integer"}, `^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$`
	}
	return rule
}

// secretRule is what it says of a value that becomes a file, whose last line may end.
func secretRule(s setting) any {
	return map[string]any{"description": s.tag.Get("help"), "type": []string{"string", "integer"}, "minLength": 1}
}

// choiceRule lists the values of a choice. YAML has truth values of its own.
func choiceRule(choices string) (all []any) {
	for _, choice := range strings.Split(choices, ",") {
		all = append(all, choice)
		if choice == "true" || choice == "false" {
			all = append(all, choice == "true")
		}
	}
	return all
}

// bounds sets those of a number. Its text has none in the schema.
func bounds(rule map[string]any, s setting) {
	for tag, keyword := range map[string]string{"min": "minimum", "max": "maximum", "above": "exclusiveMinimum"} {
		if n, err := strconv.ParseFloat(s.tag.Get(tag), 64); err == nil {
			rule[keyword] = n
		}
	}
}

// list is the pattern of items of one pattern, between commas and blanks.
func list(item string) string { return "^" + item + "( *, *" + item + ")*$" }

const (
	urlStart    = `[hH][tT][tT][pP][sS]?://`
	scopePart   = `[!#-\[\]-~]+`
	portPattern = `:(0|[1-9][0-9]{0,4})`
)

// valuePatterns are those of the types that the program has for values.
var valuePatterns = map[string]string{
	"time.Duration": "^(0|[+]?(([0-9]+[.]?[0-9]*|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
	"ByteSize":      "^[0-9]+(B|KiB|MiB|GiB)$",
	"Rate":          "^[0-9]+([.][0-9]+)?/[sm]$",
	"Listener":      `^(unix:/.+|(\[[^\]]+\]|[^:/\[\]\s]*)` + portPattern + `)$`,
	"*url.URL":      "^" + urlStart + `[^@?#\s/\\]+(/[^?#\\]*)?$`,
	"Targets":       list("[a-z][a-z0-9-]{0,31}=" + urlStart + `[^@?#\s/\\,]+(/[^?#\\,]*)?`),
}

// checkPatterns are those of the rules that the tag check names. What is not here only the program tells.
var checkPatterns = map[string]string{
	"auditpath": "^(stdout|/.*)$",
	"digits":    "^[0-9]{1,20}$",
	"grant":     "^[!-~]+$",
	"header":    "^[!-~]+$",
	"word":      "^[!-~]+$",
	"hosts":     list(`[A-Za-z0-9_.:%-]+`),
	"methods":   `^none$|` + list("(GET|HEAD|OPTIONS|PUT|DELETE|POST|PATCH)"),
	"name":      "^[a-z][a-z0-9-]{0,31}$",
	"nid":       "^[0-9A-Za-z_-]{1,64}$",
	"scope":     "^" + scopePart + "( " + scopePart + ")*$",
	"oclcscope": "^" + scopePart + "( " + scopePart + ")*$",
	"words":     list("[A-Za-z0-9_.:-]{1,64}"),
	"separator": `^[!#-/:-@\[\]-\x60{-~]$`,
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
