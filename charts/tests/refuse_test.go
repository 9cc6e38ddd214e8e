package tests

import (
	"maps"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestValuesThatMustNotBeInstalledAreRefused gives values that must not be installed, and a word that the
// refusal must name.
func TestValuesThatMustNotBeInstalledAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ values, names string }{
		"a typo at the top":             {"podMoniter: {enabled: true}", "podMoniter"},
		"a typo inside":                 {"podMonitor: {enable: true}", "enable"},
		"a setting that does not exist": {"settings: {OCLC_INSTITUTE: x}", "OCLC_INSTITUTE"},
		"a setting with its prefix":     {"settings: {SIDECAR_LOG_LEVEL: info}", "SIDECAR_LOG_LEVEL"},
		"a secret in the ConfigMap":     {"settings: {OCLC_SECRET: x}", "OCLC_SECRET"},
		"a key ring in the ConfigMap":   {"settings: {REDIS_KEYS: x}", "REDIS_KEYS"},
		"a Redis URL in the ConfigMap":  {"settings: {REDIS_URL: x}", "REDIS_URL"},
		"a numbered secret":             {"settings: {OAUTH2_0_CLIENT_SECRET: x}", "OAUTH2_0_CLIENT_SECRET"},
		"a number with a leading zero":  {"settings: {OAUTH2_00_NAME: x}", "OAUTH2_00_NAME"},
		"a value of the wrong choice":   {"settings: {LOG_LEVEL: verbose}", "LOG_LEVEL"},
		"a duration without unit":       {"settings: {TOKEN_TIMEOUT: 10}", "TOKEN_TIMEOUT"},
		"a size without unit":           {"settings: {REPLAY_LIMIT: 64}", "REPLAY_LIMIT"},
		"an empty value":                {`settings: {OCLC_INSTITUTION: ""}`, "OCLC_INSTITUTION"},
		"an address of the chart's":     {"settings: {ADMIN_LISTEN: ':1'}", "ADMIN_LISTEN"},
		"a plain setting as a secret":   {"secrets: {LOG_LEVEL: info}", "LOG_LEVEL"},
		"a source of two kinds":         {"settingsFrom: {OCLC_SECRET: {secret: a, configMap: b}}", "OCLC_SECRET"},
		"a source with a typo":          {"settingsFrom: {OCLC_SECRET: {name: a}}", "name"},
		"a source that nobody names":    {"settingsFrom: {OCLC_SECRET: {key: a}, OCLC_WSKEY: {key: a}}", "existingSecret"},
		"a setting from two places":     {"settings: {OCLC_WSKEY: a}\nsettingsFrom: {OCLC_WSKEY: {secret: b}, OCLC_SECRET: {secret: b}}", "OCLC_WSKEY"},
		"a secret from two places":      {"secrets: {OCLC_SECRET: a}\nsettingsFrom: {OCLC_SECRET: {secret: b}, OCLC_WSKEY: {secret: b}}", "OCLC_SECRET"},
		"a path as a variable":          {"settingsFrom: {CA_FILE: {secret: b, as: env}}", "CA_FILE"},
		"a short digest":                {"image: {digest: 'sha256:12'}", "digest"},
		"a port out of range":           {"admin: {port: 99999}", "port"},
		"grace too short for a drain":   {"terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds"},
		"a drain longer than the grace": {"settings: {DRAIN_TIMEOUT: 40s}\nexample: {enabled: true}", "terminationGracePeriodSeconds"},
		"a delay that fills the grace":  {"settings: {DRAIN_DELAY: 29s}\nexample: {enabled: true}", "terminationGracePeriodSeconds"},
		"hours of drain":                {"settings: {DRAIN_TIMEOUT: 1h}\nexample: {enabled: true}", "3600s"},
		"a monitor of what is closed":   {"admin: {expose: false}\npodMonitor: {enabled: true}", "admin.expose"},
		"a service of what is closed":   {"admin: {expose: false}\nserviceMonitor: {enabled: true}", "admin.expose"},
		"a pod scraped by two monitors": {"podMonitor: {enabled: true}\nserviceMonitor: {enabled: true}", "podMonitor"},
		"a service with expressions": {"serviceMonitor: {enabled: true}\npodSelector: {matchLabels: {a: b}, " +
			"matchExpressions: [{key: c, operator: Exists}]}", "matchExpressions"},
		"a service of expressions alone": {"serviceMonitor: {enabled: true}\npodSelector: {matchExpressions: [{key: c, operator: Exists}]}",
			"matchExpressions"},
		"a service of no label":         {"serviceMonitor: {enabled: true}\npodSelector: {matchLabels: {}}", "matchLabels"},
		"a typo in a monitor":           {"serviceMonitor: {enable: true}", "enable"},
		"annotations of what is closed": {"admin: {expose: false}\nscrapeAnnotations: true\nexample: {enabled: true}", "admin.expose"},
		"a label that is no text":       {"dashboard: {labels: {grafana_dashboard: 1}}", "grafana_dashboard"},
		"a runbook that is no URL":      {"prometheusRule: {runbookURL: wiki}", "runbookURL"},
		"injection without any API":     {"inject: {enabled: true}", "no API is configured"},
		"injection of an example":       {"inject: {enabled: true}\nexample: {enabled: true}", "no API is configured"},
		"a profile that is no label":    {"inject: {profile: A_b}", "profile"},
		"injection of the chart's own Secret elsewhere": {"inject: {enabled: true, namespaceSelector: {matchLabels: {a: b}}}\n" +
			"secrets: {OCLC_WSKEY: a, OCLC_SECRET: b}", "inject.namespaceSelector"},
		"apps that are sent to the wrong port": {"inject: {enabled: true}\nsettings: {LISTEN: '127.0.0.1:8181'}\n" +
			"settingsFrom: {OCLC_WSKEY: {secret: a}, OCLC_SECRET: {secret: a}}", "LISTEN"},
		"apps that are sent to plain HTTP": {"inject: {enabled: true}\n" +
			"settingsFrom: {OCLC_WSKEY: {secret: a}, OCLC_SECRET: {secret: a}, TLS_CERT: {secret: a}, TLS_KEY: {secret: a}}", "TLS_CERT"},
		"a ServiceMonitor of pods elsewhere": {"inject: {enabled: true, namespaceSelector: {matchLabels: {a: b}}}\nserviceMonitor: {enabled: true}\n" +
			"settingsFrom: {OCLC_WSKEY: {secret: a}, OCLC_SECRET: {secret: a}}", "use podMonitor"},
		"a policy about pods elsewhere": {"inject: {enabled: true, namespaceSelector: {matchLabels: {a: b}}}\nnetworkPolicy: {enabled: true}\n" +
			"settingsFrom: {OCLC_WSKEY: {secret: a}, OCLC_SECRET: {secret: a}}", "inject.namespaceSelector"},
		"a policy about all pods of a release":  {"networkPolicy: {enabled: true}", "podSelector"},
		"a policy about all pods":               {"networkPolicy: {enabled: true}\npodSelector: {matchExpressions: []}", "matchExpressions"},
		"a pod scraped by a monitor and itself": {"podMonitor: {enabled: true}\nscrapeAnnotations: true", "scrapeAnnotations"},
		"the same with a service":               {"serviceMonitor: {enabled: true}\nscrapeAnnotations: true", "scrapeAnnotations"},
		"a number that YAML cuts": {"settings: {OAUTH2_0_NAME: my, OAUTH2_0_TARGET: 'https://a.example', OAUTH2_0_TOKEN_URL: 'https://a.example/t', " +
			"OAUTH2_0_CLIENT_ID: 113456789012345678901}\nsecrets: {OAUTH2_0_CLIENT_SECRET: a}\nexample: {enabled: true}", "quotes"},
		"an API in part beside the example":         {"settings: {OAUTH2_0_TARGET: 'https://my.example'}\nexample: {enabled: true}", "OAUTH2_0"},
		"a name that is no label":                   {"fullnameOverride: Shop_X", "fullnameOverride"},
		"a path that is none":                       {"settings: {OAUTH2_0_ASSERTION_FILE: token}", "OAUTH2_0_ASSERTION_FILE"},
		"an admin listener that may not be exposed": {"settings: {EXPOSE: false}", "EXPOSE"},
		"an example without http":                   {"example: {url: 'https://127.0.0.1'}", "url"},
	} {
		t.Run(name, func(t *testing.T) {
			var values map[string]any
			if err := yaml.UnmarshalStrict([]byte(c.values), &values); err != nil {
				t.Fatal(err)
			}
			_, err := renderText(sidecarChart(t), values, kubeVersion)
			if err == nil {
				t.Fatal("it is rendered")
			}
			if !strings.Contains(err.Error(), c.names) {
				t.Errorf("the refusal does not name %s: %v", c.names, err)
			}
		})
	}
}

func TestDependencyIsRefusedAsTheChartItself(t *testing.T) {
	none := map[string]any{}
	if _, err := renderText(parent(t, ""), none, kubeVersion); err == nil || !strings.Contains(err.Error(), "no API is configured") {
		t.Errorf("a sidecar without any API: %v", err)
	}
	some := map[string]any{"token-sidecar": map[string]any{"existingSecret": "s",
		"settingsFrom": map[string]any{"OCLC_WSKEY": map[string]any{}, "OCLC_SECRET": map[string]any{}}}}
	if _, err := renderText(parent(t, ""), some, "v1.28.5"); err == nil || !strings.Contains(err.Error(), "1.29") {
		t.Errorf("a native sidecar on Kubernetes 1.28: %v", err)
	}
	injected := map[string]any{"inject": map[string]any{"enabled": true}}
	maps.Copy(injected, some["token-sidecar"].(map[string]any))
	if _, err := renderText(sidecarChart(t), injected, "v1.35.9"); err == nil ||
		!strings.Contains(err.Error(), "1.36") || !strings.Contains(err.Error(), "the three lines") {
		t.Errorf("injection on Kubernetes 1.35: %v", err)
	}
	for _, kube := range []string{"v1.36.0", "v1.36.2-gke.100", "v1.37.1+k3s1"} {
		if _, err := renderText(sidecarChart(t), injected, kube); err != nil {
			t.Errorf("injection on %s: %v", kube, err)
		}
	}
	for _, kube := range []string{"v1.29.0", "v1.33.4-gke.100", "v1.34.1+k3s1"} {
		if _, err := renderText(parent(t, ""), some, kube); err != nil {
			t.Errorf("%s: %v", kube, err)
		}
	}
}
