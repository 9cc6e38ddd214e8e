package config

import (
	"reflect"
	"strconv"

	"token-sidecar/upstream"
)

// setting is one field of Config that a variable sets.
type setting struct {
	name    string              // of the variable
	section string              // its name up to the field's own part, such as SIDECAR_PDX_
	group   string              // heading in the help text
	field   reflect.StructField // the tags
	value   reflect.Value       // addressable
}

// tag returns the tag of that name, which Config explains.
func (s setting) tag(key string) string { return s.field.Tag.Get(key) }

// listener returns the value of a setting that is one.
func (s setting) listener() Listener { return s.value.Interface().(Listener) }

// secret returns the Secret that the setting is, nil if it is none.
func (s setting) secret() *upstream.Secret {
	secret, _ := s.value.Addr().Interface().(*upstream.Secret)
	return secret
}

// settings lists every setting of c in the order of the struct, those of the
// elements of OAuth2 with their numbers.
func (c *Config) settings() []setting {
	return walkSettings(nil, reflect.ValueOf(c).Elem(), prefix, "", strconv.Itoa)
}

// sampleSettings lists every setting there is, with <n> for numbers.
func sampleSettings() []setting {
	sample := &Config{OAuth2: make([]OAuth2, 1)}
	return walkSettings(nil, reflect.ValueOf(sample).Elem(), prefix, "", func(int) string { return "<n>" })
}

// walkSettings appends to list the settings of the struct v, whose variables begin
// with section.
func walkSettings(list []setting, v reflect.Value, section, group string, number func(int) string) []setting {
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if !field.IsExported() {
			continue
		}
		if g, ok := field.Tag.Lookup("group"); ok {
			group = g
		}
		name, leaf := field.Tag.Lookup("env")
		inner := section + field.Tag.Get("envPrefix")
		switch {
		case leaf:
			list = append(list, setting{section + name, section, group, field, value})
		case value.Kind() == reflect.Slice:
			for n := range value.Len() {
				list = walkSettings(list, value.Index(n), inner+number(n)+"_", group, number)
			}
		default:
			list = walkSettings(list, value, inner, group, number)
		}
	}
	return list
}
