package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// settingsInSource returns the names of all settings, without SIDECAR_, as the
// tags in the source of the configuration have them.
func settingsInSource(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../internal/config/*.go")
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]*ast.StructType{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
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
	names := namesOf(structs, "Config", "")
	if len(names) < 90 {
		t.Fatalf("%d settings found in the source", len(names))
	}
	return names
}

// namesOf returns the settings of one struct and of those within it.
func namesOf(structs map[string]*ast.StructType, name, prefix string) []string {
	var names []string
	for _, field := range structs[name].Fields.List {
		tag := reflect.StructTag("")
		if field.Tag != nil {
			tag = reflect.StructTag(strings.Trim(field.Tag.Value, "`"))
		}
		inner := prefix + tag.Get("envPrefix")
		if list, ok := field.Type.(*ast.ArrayType); ok && tag.Get("envPrefix") != "" {
			field.Type, inner = list.Elt, inner+"<n>_"
		}
		if own := tag.Get("env"); own != "" {
			names = append(names, prefix+own)
		} else if kind, ok := field.Type.(*ast.Ident); ok && structs[kind.Name] != nil {
			names = append(names, namesOf(structs, kind.Name, inner)...)
		}
	}
	return names
}
