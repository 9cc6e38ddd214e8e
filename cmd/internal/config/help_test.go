package config

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"token-sidecar/upstream"
)

func TestHelpCoversEverySetting(t *testing.T) {
	var help, table bytes.Buffer
	if found, err := WriteHelp(&help, "all"); !found || err != nil {
		t.Fatal(found, err)
	}
	if err := writeSettingsTable(&table); err != nil {
		t.Fatal(err)
	}
	fields := countSettings(reflect.TypeFor[Config]())
	all := sampleSettings()
	if len(all) != fields || fields < 80 {
		t.Errorf("%d settings listed, the struct has %d", len(all), fields)
	}
	for _, s := range all {
		if s.tag("help") == "" {
			t.Errorf("%s has no help", s.name)
		}
		if !strings.Contains(help.String(), "  "+s.name+"\n") && !strings.Contains(help.String(), "  "+s.name+" [") {
			t.Errorf("the help text lacks %s", s.name)
		}
		if strings.Count(table.String(), "| `"+s.name+"` |") != 1 {
			t.Errorf("the table lacks %s", s.name)
		}
		for _, text := range []string{help.String(), table.String()} {
			if !strings.Contains(text, s.fallback()) && s.fallback() == s.tag("envDefault") {
				t.Errorf("the default %q of %s is not shown", s.fallback(), s.name)
			}
		}
	}
	for i, line := range strings.Split(help.String(), "\n") {
		if len(line) > helpWidth {
			t.Errorf("help line %d has %d columns", i+1, len(line))
		}
	}
	for i, line := range strings.Split(strings.TrimSpace(table.String()), "\n") {
		if strings.Count(line, "|")-strings.Count(line, `\|`) != 5 {
			t.Errorf("table line %d has not four cells: %s", i+1, line)
		}
	}
}

// countSettings counts fields with an env tag by a way of its own.
func countSettings(typ reflect.Type) int {
	n := 0
	for i := range typ.NumField() {
		field := typ.Field(i)
		switch inner := field.Type; {
		case field.Tag.Get("env") != "":
			n++
		case inner.Kind() == reflect.Slice && inner.Elem().Kind() == reflect.Struct && field.IsExported():
			n += countSettings(inner.Elem())
		case inner.Kind() == reflect.Struct:
			n += countSettings(inner)
		}
	}
	return n
}

// TestTagsAreConsistent guards against mistakes that reflection would hide.
func TestTagsAreConsistent(t *testing.T) {
	for _, s := range sampleSettings() {
		if _, ok := valueChecks[s.tag("check")]; !ok {
			t.Errorf("%s names the check %q, which does not exist", s.name, s.tag("check"))
		}
		if s.secret() != nil && s.tag("file") == "" {
			t.Errorf("%s is a secret and cannot come from a file", s.name)
		}
		if s.tag("file") == "rotates" && s.secret() == nil {
			t.Errorf("%s rotates, but only a %T can", s.name, upstream.Secret{})
		}
		if bounds := s.tag("min") + s.tag("above"); (bounds == "") != (s.tag("max") == "") {
			t.Errorf("%s has half a range", s.name)
		}
		if k := s.value.Kind(); (k == reflect.Int || k == reflect.Int64 || k == reflect.Float64) && s.tag("max") == "" {
			t.Errorf("%s has no range", s.name)
		}
	}
}
