package tests

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// A setting is given if it, or the path of its file, is in settings, or if it is in settingsFrom or secrets. What settingsFrom brings is not
// known, so rules that need a value look at settings alone.

// object is a part of a schema.
type object = map[string]any

// numbersInSchema bounds the generic upstreams whose relations the schema knows.
const numbersInSchema = 5

var places = []string{"settings", "settingsFrom", "secrets"}

// givenDefinitions are the definitions "given X" for each setting that others need, and "some P" for each way in
// which names of settings begin.
func givenDefinitions(t *testing.T) object {
	definitions := object{}
	for _, r := range relations(t) {
		for _, name := range references(r) {
			if name, ok := strings.CutPrefix(name, "#/definitions/"); ok {
				kind, of, _ := strings.Cut(name, " ")
				var all []any
				for _, place := range places {
					has := object{"required": []any{of}}
					if place == "settings" {
						has = anyOf(has, object{"required": []any{of + "_FILE"}})
					}
					if kind == "some" {
						has = object{"not": object{"propertyNames": object{"not": object{"pattern": "^" + of}}}}
					}
					all = append(all, object{"required": []any{place}, "properties": object{place: has}})
				}
				definitions[name] = object{"anyOf": all}
			}
		}
	}
	return definitions
}

// references are the definitions that a rule refers to.
func references(rule any) (names []string) {
	switch r := rule.(type) {
	case object:
		for key, value := range r {
			if key == "$ref" {
				names = append(names, value.(string))
			}
			names = append(names, references(value)...)
		}
	case []any:
		for _, value := range r {
			names = append(names, references(value)...)
		}
	}
	return names
}

// What these return are the conditions and demands that rules are made of.
func isGiven(name string) object        { return object{"$ref": "#/definitions/given " + name} }
func some(prefix string) object         { return object{"$ref": "#/definitions/some " + prefix} }
func not(rule object) object            { return object{"not": rule} }
func anyOf(rules ...any) object         { return object{"anyOf": rules} }
func all(rules ...any) object           { return object{"allOf": rules} }
func when(condition, demand object) any { return object{"if": condition, "then": demand} }

// is demands that a setting is among settings with one of those values.
func is(name string, values ...any) object {
	return object{"required": []any{"settings"}, "properties": object{"settings": object{
		"required": []any{name}, "properties": object{name: object{"enum": values}}}}}
}

// absent demands that a setting is not given. The refusal names it.
func absent(name string) object {
	properties := object{}
	for _, place := range places {
		properties[place] = object{"properties": object{name: false}}
	}
	return object{"properties": properties}
}

// fits demands that those settings, where they are among settings, have the pattern.
func fits(pattern string, names ...string) object {
	properties := object{}
	for _, name := range names {
		properties[name] = object{"pattern": pattern}
	}
	return object{"properties": object{"settings": object{"properties": properties}}}
}

// relations are the rules between settings that the schema can tell.
func relations(t *testing.T) []any {
	var rules []any
	rules = append(rules, sectionRules(t)...)
	rules = append(rules, exposureRules(t)...)
	for n := range numbersInSchema {
		rules = append(rules, genericRules(t, n)...)
	}
	return rules
}

// sectionRules are those of the tags needed, with and only, and the few of single providers.
func sectionRules(t *testing.T) (rules []any) {
	needed, listed := map[string][]any{}, settings(t)
	for _, s := range listed {
		section, _, _ := strings.Cut(s.name, "_")
		switch {
		case strings.HasPrefix(s.name, "OAUTH2_"):
			continue // see genericRules
		case s.tag.Get("needed") != "":
			needed[section] = append(needed[section], isGiven(s.name))
		}
		if other := s.tag.Get("with"); other != "" {
			rules = append(rules, when(isGiven(s.name), isGiven(sectionOf(s)+other)))
		}
		rules = append(rules, onlyRules(listed, s, s.name, sectionOf(s))...)
		if s.kind == "Rate" {
			rules = append(rules, when(isGiven(s.name), isGiven("REDIS_URL")))
		}
	}
	for _, section := range slices.Sorted(maps.Keys(needed)) {
		rules = append(rules, when(some(section+"_"), all(needed[section]...)))
	}
	context := not(object{"type": "string", "pattern": "(^| )context:"}) // the institution is no scope
	rules = append(rules, object{"properties": object{"settings": object{"properties": object{"OCLC_SCOPE": context, "OCLC_ALLOWED_SCOPES": context}}}})
	return append(rules, when(is("OCLC_AUTH", "hmac"), isGiven("OCLC_INSTITUTION")))
}

// sectionOf is how the names of a setting's section begin, "" for those that have none.
func sectionOf(s setting) string { return strings.TrimSuffix(s.name, s.tag.Get("env")) }

// onlyRules refuse a setting that has no meaning beside another one's value.
func onlyRules(listed []setting, s setting, name, section string) []any {
	other, value, ok := strings.Cut(s.tag.Get("only"), "=")
	if !ok {
		return nil
	}
	i := slices.IndexFunc(listed, func(o setting) bool { return o.name == sectionOf(s)+other })
	choices := choiceRule(listed[i].tag.Get("oneof"))
	if listed[i].tag.Get("oneof") == "" {
		return nil // any value is possible
	}
	choices = slices.DeleteFunc(choices, func(c any) bool { return c == value })
	return []any{when(is(section+other, choices...), absent(name))}
}

// exposureRules keep listeners on loopback, and URLs encrypted, unless the settings say otherwise.
func exposureRules(t *testing.T) []any {
	const (
		loopback  = `^(unix:|127[.]|[lL][oO][cC][aA][lL][hH][oO][sS][tT]:|\[[0-9a-fA-F:.]*1\]:)`
		encrypted = `^([hH][tT][tT][pP][sS]:|[hH][tT][tT][pP]://(127[.]|[lL][oO][cC][aA][lL][hH][oO][sS][tT]|\[))`
	)
	var listeners, urls []string
	for _, s := range settings(t) {
		names := []string{s.name}
		if before, after, ok := strings.Cut(s.name, "_n_"); ok {
			names = nil
			for n := range numbersInSchema {
				names = append(names, fmt.Sprintf("%s_%d_%s", before, n, after))
			}
		}
		switch {
		case s.kind == "Listener" && s.name != "JWKS_LISTEN" && !slices.Contains(ofTheChart, s.name):
			listeners = append(listeners, names...)
		case s.kind == "*url.URL" && s.tag.Get("check") == "":
			urls = append(urls, names...)
		}
	}
	return []any{
		when(not(is("EXPOSE", "true", true)), fits(loopback, listeners...)),
		when(not(anyOf(is("INSECURE_HTTP", "true", true), object{"properties": object{"settingsFrom": object{"required": []any{"INSECURE_HTTP"}}}})),
			fits(encrypted, urls...)),
		// The chart has the admin listener on the pod's address then.
		when(object{"properties": object{"admin": object{"properties": object{"expose": object{"const": true}}}}},
			object{"properties": object{"settings": object{"properties": object{"EXPOSE": object{"enum": []any{"admin", "true", true}}}}}}),
	}
}

// genericRules are those of the generic upstream n. The example brings one itself, with the number 0.
func genericRules(t *testing.T, n int) (rules []any) {
	section := fmt.Sprintf("OAUTH2_%d_", n)
	x := func(name string) object { return isGiven(section + name) }
	used := some(section)
	if n > 0 {
		rules = append(rules, when(used, isGiven(fmt.Sprintf("OAUTH2_%d_NAME", n-1))))
	} else {
		used = all(used, not(object{"properties": object{"example": object{"properties": object{"enabled": object{"const": true}}}}}))
	}
	plain := not(anyOf(x("GRANT"), x("AUTH"))) // what those two say may come by settingsFrom
	byDefault := func(auth ...any) object { return all(used, not(x("GRANT")), is(section+"AUTH", auth...)) }
	rules = append(rules,
		when(used, all(x("NAME"), x("TARGET"), anyOf(x("TOKEN_URL"), x("ISSUER")))),
		when(all(used, plain), all(x("CLIENT_ID"), x("CLIENT_SECRET"))),
		when(byDefault("basic", "post", "client_secret_jwt"), all(x("CLIENT_ID"), x("CLIENT_SECRET"))),
		when(byDefault("private_key_jwt"), all(x("CLIENT_ID"), x("PRIVATE_KEY"))),
		when(byDefault("tls"), all(x("CLIENT_ID"), x("CERT"), x("CERT_KEY"))),
		when(byDefault("assertion_file"), x("ASSERTION")),
		when(x("CERT_KEY"), x("CERT")),
		when(x("TOKEN_URL"), absent(section+"ISSUER")),
		when(x("TOKEN_HOSTS"), x("ISSUER")),
		when(x("NEXT_KEY"), x("PRIVATE_KEY")),
		when(x("TOKEN_BUDGET"), isGiven("REDIS_URL")),
	)
	listed := settings(t)
	for _, s := range listed {
		if local, ok := strings.CutPrefix(s.name, "OAUTH2_n_"); ok {
			rules = append(rules, onlyRules(listed, s, section+local, section)...)
		}
	}
	return rules
}
