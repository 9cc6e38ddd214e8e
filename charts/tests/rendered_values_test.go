package tests

import (
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
)

// TestValuesArriveAsTheyWereMeant renders what YAML, Helm or the chart might change on the way.
func TestValuesArriveAsTheyWereMeant(t *testing.T) {
	values := func() map[string]any {
		return map[string]any{
			"example":   map[string]any{"enabled": true},
			"resources": map[string]any{"limits": map[string]any{"memory": "1Gi"}},
			"settings": map[string]any{"OAUTH2_0_NAME": "my", "OAUTH2_0_TARGET": "https://a.example", "OAUTH2_0_TOKEN_URL": "https://a.example/t",
				"OAUTH2_0_AUTH": "assertion_file", "OAUTH2_0_ASSERTION_FILE": "/var/run/assertion/token", "OCLC_INSTITUTION": 128807.0},
			"secrets": map[string]any{"OCLC_WSKEY": 1234567.0, "OCLC_SECRET": 20240115.0},
		}
	}
	parts := func(v map[string]any) (settings map[string]string, secrets map[string]string, pod core.PodTemplateSpec) {
		objects, err := render(t, v)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			switch o := object.(type) {
			case *core.ConfigMap:
				if o.Data["SIDECAR_OAUTH2_0_NAME"] != "" {
					settings = o.Data
				}
			case *core.Secret:
				secrets = o.StringData
			case *apps.Deployment:
				pod = o.Spec.Template
			}
		}
		return settings, secrets, pod
	}
	settings, secrets, pod := parts(values())
	if settings["SIDECAR_OAUTH2_0_ASSERTION_FILE"] != "/var/run/assertion/token" || settings["SIDECAR_OCLC_INSTITUTION"] != "128807" ||
		secrets["OCLC_WSKEY"] != "1234567" || secrets["OCLC_SECRET"] != "20240115" {
		t.Errorf("%v %v", settings, secrets)
	}
	limit := ""
	for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		for _, v := range c.Env {
			if v.Name == "GOMEMLIMIT" {
				limit = v.Value
			}
		}
	}
	if limit != "921MiB" {
		t.Errorf("GOMEMLIMIT is %q", limit)
	}
	// A secret is read again while the program runs; an id is not.
	const checksum = "checksum/token-sidecar"
	for name, restarts := range map[string]bool{"OCLC_SECRET": false, "OCLC_WSKEY": true} {
		changed := values()
		changed["secrets"].(map[string]any)[name] = "another"
		if _, _, other := parts(changed); (other.Annotations[checksum] != pod.Annotations[checksum]) != restarts || strings.Contains(other.Annotations[checksum], "another") {
			t.Errorf("%s: %v and %v", name, pod.Annotations, other.Annotations)
		}
	}
}
