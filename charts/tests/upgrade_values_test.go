package tests

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/yaml"
)

// refusedNow are values that the earlier chart took and that today's refuses, with the words by which docs/upgrade.md
// names them. Those that worked then come first; with the others the pods or the API server refused what was rendered.
var refusedNow = []struct{ values, page string }{
	{"networkPolicy: {enabled: true}", "`networkPolicy.enabled` without `podSelector`"},
	{"networkPolicy: {enabled: true}\npodSelector: {matchExpressions: []}", "`podSelector` that is empty"},
	{"podMonitor: {enabled: true}\nscrapeAnnotations: true", "`podMonitor.enabled` beside `scrapeAnnotations`"},
	{"settings: {EXPOSE: false}", "`EXPOSE` under `settings`"},
	{"settings: {OAUTH2_0_TARGET: 'https://my.example'}\nexample: {enabled: true}", "`OAUTH2_0_NAME`"},
	{"settings: {OAUTH2_0_NAME: my, OAUTH2_0_TARGET: 'https://a.example', OAUTH2_0_TOKEN_URL: 'https://a.example/t', " +
		"OAUTH2_0_CLIENT_ID: 113456789012345678901}\nsecrets: {OAUTH2_0_CLIENT_SECRET: a}\nexample: {enabled: true}", "more than 15 digits"},

	{"fullnameOverride: Shop_X", "`fullnameOverride`"},
	{"settingsFrom: {OCLC_WSKEY: {secret: a}}", "half a credential"},
	{"settings: {OCLC_SCOPE: WMS_NCIP}", "a setting of an API that is off"},
	{"settings: {LISTEN: '0.0.0.0:8080'}", "a listener beyond loopback"},
	{"settings: {MAX_TOKENS: 0}", "out of its range"},
}

// TestValuesThatAreRefusedNowAreInThePage holds that docs/upgrade.md names what of the values has to be changed before an upgrade.
// With -then it also holds that the earlier chart took them.
func TestValuesThatAreRefusedNowAreInThePage(t *testing.T) {
	page := string(read(t, upgradePage))
	try := func(dir, text string) error {
		c, err := loader.LoadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var values map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
			t.Fatal(err)
		}
		_, err = renderText(c, values, kubeVersion)
		return err
	}
	for _, c := range refusedNow {
		if !strings.Contains(page, c.page) {
			t.Errorf("docs/upgrade.md does not say %q, of\n%s", c.page, c.values)
		}
		if try(chartDir, c.values) == nil {
			t.Errorf("today's chart takes\n%s", c.values)
		}
		if *then != "" {
			if err := try(*then, c.values); err != nil {
				t.Errorf("the earlier chart did not take it either: %v", err)
			}
		}
	}
}
