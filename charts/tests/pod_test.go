package tests

import (
	"slices"
	"strings"
	"testing"
	"time"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// pods are the pod templates of all workloads.
func pods(objects []runtime.Object) []*core.PodTemplateSpec {
	var all []*core.PodTemplateSpec
	for _, object := range objects {
		if pod := podOf(object); pod != nil {
			all = append(all, pod)
		}
	}
	return all
}

func onlyPod(t *testing.T, objects []runtime.Object) *core.PodTemplateSpec {
	t.Helper()
	all := pods(objects)
	if len(all) != 1 {
		t.Fatalf("%d pods, want 1", len(all))
	}
	return all[0]
}

// sidecar returns the container, and whether it is a native sidecar.
func sidecar(t *testing.T, pod *core.PodTemplateSpec) (c core.Container, native bool) {
	t.Helper()
	isOurs := func(c core.Container) bool { return c.Name == "token-sidecar" }
	if i := slices.IndexFunc(pod.Spec.InitContainers, isOurs); i >= 0 {
		return pod.Spec.InitContainers[i], true
	}
	i := slices.IndexFunc(pod.Spec.Containers, isOurs)
	if i < 0 {
		t.Fatal("no sidecar in the pod")
	}
	return pod.Spec.Containers[i], false
}

// checkPod checks what holds for every pod of the chart's: all objects' pods must have a sidecar.
func checkPod(t *testing.T, objects []runtime.Object) {
	t.Helper()
	if len(pods(objects)) == 0 {
		t.Error("no pod")
	}
	for _, object := range objects {
		if pod := podOf(object); pod != nil {
			checkSidecar(t, objects, pod)
			checkRestart(t, object, pod)
		}
	}
}

// checkSidecar checks what holds for every pod with a sidecar, whoever put it there.
func checkSidecar(t *testing.T, objects []runtime.Object, pod *core.PodTemplateSpec) {
	t.Helper()
	checkRestricted(t, pod)
	c, native := sidecar(t, pod)
	switch always := c.RestartPolicy != nil && *c.RestartPolicy == core.ContainerRestartPolicyAlways; {
	case native && !always:
		t.Error("the native sidecar has no restartPolicy Always: the pod would wait for its end")
	case !native && c.RestartPolicy != nil:
		t.Error("a classic container has a restartPolicy, which older clusters refuse")
	}
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the root file system can be written to")
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
		t.Error("no requests for CPU and memory")
	}
	for _, m := range c.VolumeMounts {
		if m.SubPath != "" {
			t.Errorf("mount %s is of a single file, which does not follow a rotation", m.MountPath)
		}
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("no volume %s", m.Name)
		}
	}
	for _, v := range pod.Spec.Volumes {
		// Whoever the pod's files belong to, user 65532 must read them.
		if v.Projected != nil && *v.Projected.DefaultMode != 0o444 {
			t.Errorf("volume %s has mode %o", v.Name, *v.Projected.DefaultMode)
		}
	}
	env := environ(t, objects, pod, t.TempDir())
	checkProbes(t, c, env)
	checkDrain(t, pod, env, native)
}

// checkRestricted has Kubernetes' own code judge the pod.
func checkRestricted(t *testing.T, pod *core.PodTemplateSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.MajorMinorVersion(1, 37)}
	for _, result := range evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec) {
		if !result.Allowed {
			t.Errorf("not restricted: %s: %s", result.ForbiddenReason, result.ForbiddenDetail)
		}
	}
}

// checkProbes makes sure that all three probes ask the admin listener, at a
// place where they reach it.
func checkProbes(t *testing.T, c core.Container, env map[string]string) {
	t.Helper()
	port := env["SIDECAR_ADMIN_LISTEN"][strings.LastIndex(env["SIDECAR_ADMIN_LISTEN"], ":")+1:]
	exposed := env["SIDECAR_EXPOSE"] == "admin" || env["SIDECAR_EXPOSE"] == "true"
	for name, probe := range map[string]*core.Probe{
		"startup /readyz": c.StartupProbe, "liveness /livez": c.LivenessProbe, "readiness /readyz": c.ReadinessProbe} {
		_, path, _ := strings.Cut(name, " ")
		switch {
		case probe == nil:
			t.Errorf("no %s probe", name)
		case probe.HTTPGet != nil:
			named := probe.HTTPGet.Port.String()
			if i := slices.IndexFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == named }); i >= 0 {
				named = c.Ports[i].HostIP + portText(c.Ports[i].ContainerPort)
			}
			if probe.HTTPGet.Path != path || named != port || !exposed || strings.HasPrefix(env["SIDECAR_ADMIN_LISTEN"], "127.") {
				t.Errorf("the %s probe does not reach %s", name, env["SIDECAR_ADMIN_LISTEN"])
			}
		case probe.Exec != nil:
			want := []string{"/token-sidecar", "healthcheck"}
			if path == "/readyz" {
				want = append(want, "ready")
			}
			if !slices.Equal(probe.Exec.Command, want) {
				t.Errorf("the %s probe runs %q", name, probe.Exec.Command)
			}
		}
		if probe != nil && probe.TimeoutSeconds < 3 {
			t.Errorf("the %s probe gives up before healthcheck does", name)
		}
	}
}

// checkDrain makes sure that the drain ends before the kubelet kills.
func checkDrain(t *testing.T, pod *core.PodTemplateSpec, env map[string]string, native bool) {
	t.Helper()
	grace := 30 * time.Second // Kubernetes' default
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	length := func(name string) (time.Duration, error) {
		for _, s := range settings(t) {
			if s.name == name && env["SIDECAR_"+name] == "" {
				return time.ParseDuration(s.tag.Get("envDefault"))
			}
		}
		return time.ParseDuration(env["SIDECAR_"+name])
	}
	delay, err1 := length("DRAIN_DELAY")
	timeout, err2 := length("DRAIN_TIMEOUT")
	if err1 != nil || err2 != nil {
		t.Fatalf("drain is not set: %v", env)
	}
	// One second for closing the admin listener, and some for the machine.
	if delay+timeout+2*time.Second > grace {
		t.Errorf("delay %s and timeout %s do not fit into %s", delay, timeout, grace)
	}
	if !native && delay == 0 {
		t.Error("a classic container stops accepting while the app still runs")
	}
	if native && delay > 0 {
		t.Error("a native sidecar waits though the app has ended already")
	}
}

func TestPodsRunWithTheLeastRights(t *testing.T) {
	for name, values := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			objects, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			if len(pods(objects)) == 0 {
				t.Skip("no example in this set")
			}
			checkPod(t, objects)
		})
	}
}

// TestSecretsComeAsFiles makes sure that no secret is in a ConfigMap, and that
// what can rotate is read from a file unless the user says otherwise.
func TestSecretsComeAsFiles(t *testing.T) {
	for name, values := range valueSets(t) {
		objects, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range objects {
			m, ok := object.(*core.ConfigMap)
			if !ok {
				continue
			}
			for _, s := range settings(t) {
				for key := range m.Data {
					if s.secret() && numbered(key) == "SIDECAR_"+s.name {
						t.Errorf("%s: %s is in a ConfigMap", name, key)
					}
				}
			}
		}
		for _, pod := range pods(objects) {
			c, _ := sidecar(t, pod)
			for _, e := range c.Env {
				if e.ValueFrom != nil && name != "many-sources" {
					t.Errorf("%s: %s is a variable", name, e.Name)
				}
			}
		}
	}
}

func TestMonitoringObjects(t *testing.T) {
	objects, err := render(t, valueSets(t)["monitoring"])
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, object := range objects {
		switch o := object.(type) {
		case *monitoring.PodMonitor:
			seen["PodMonitor"] = true
			if o.Labels["release"] != "kube-prometheus-stack" || o.Spec.Selector.MatchLabels["app"] != "shop" ||
				*o.Spec.PodMetricsEndpoints[0].Port != "sidecar-admin" {
				t.Errorf("PodMonitor %+v", o)
			}
		case *monitoring.PrometheusRule:
			seen["PrometheusRule"] = true
			alerts := 0
			for _, group := range o.Spec.Groups {
				for _, rule := range group.Rules {
					if rule.Alert != "" {
						alerts++
					}
				}
			}
			if alerts != len(alertRules(t)) {
				t.Errorf("%d alerts in the PrometheusRule, %d in the file", alerts, len(alertRules(t)))
			}
		case *core.ConfigMap:
			if o.Labels["grafana_dashboard"] == "1" {
				seen["dashboard"] = true
				if strings.TrimSpace(o.Data["token-sidecar.json"]) != strings.TrimSpace(string(read(t, chartDir+"/files/dashboard.json"))) {
					t.Error("the dashboard changed on its way into the ConfigMap")
				}
			}
		case *networking.NetworkPolicy:
			seen["NetworkPolicy"] = true
			if len(o.Spec.PolicyTypes) != 2 || len(o.Spec.Ingress) != 1 || o.Spec.Ingress[0].Ports[0].Port.IntValue() != 9090 {
				t.Errorf("NetworkPolicy %+v", o.Spec)
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("rendered only %v", seen)
	}
}

func TestRunbookURLCanBeReplaced(t *testing.T) {
	objects, err := render(t, map[string]any{"prometheusRule": map[string]any{
		"enabled": true, "runbookURL": "https://wiki.example/runbook"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range objects {
		if rule, ok := object.(*monitoring.PrometheusRule); ok {
			for _, group := range rule.Spec.Groups {
				for _, r := range group.Rules {
					if r.Alert != "" && !strings.HasPrefix(r.Annotations["runbook_url"], "https://wiki.example/runbook#") {
						t.Errorf("%s: %s", r.Alert, r.Annotations["runbook_url"])
					}
				}
			}
		}
	}
}
