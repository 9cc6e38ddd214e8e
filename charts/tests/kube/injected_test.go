package kube

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
)

const (
	sidecarName = "token-sidecar"
	urlVariable = "TOKEN_SIDECAR_URL"
	// sidecarURL is where apps reach the sidecar unless the chart is told otherwise.
	sidecarURL = "http://127.0.0.1:8080"
)

// checkLeftAlone fails if anything of the sidecar is in the pod.
func checkLeftAlone(t *testing.T, given *core.PodTemplateSpec, pod *core.Pod) {
	t.Helper()
	if !maps.Equal(pod.Labels, given.Labels) || !maps.Equal(pod.Annotations, given.Annotations) {
		t.Errorf("labels %v and annotations %v", pod.Labels, pod.Annotations)
	}
	if !slices.Equal(names(pod.Spec.InitContainers), names(given.Spec.InitContainers)) ||
		!slices.Equal(names(pod.Spec.Containers), names(given.Spec.Containers)) {
		t.Errorf("init containers %q, containers %q", names(pod.Spec.InitContainers), names(pod.Spec.Containers))
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if _, there := variable(c, urlVariable); there {
			t.Errorf("%s has %s", c.Name, urlVariable)
		}
	}
}

// checkInjected checks what every injected pod has, and that it has kept what it had.
func (c injectCase) checkInjected(t *testing.T, given *core.PodTemplateSpec, pod *core.Pod) {
	t.Helper()
	// First, so that a migration before the app can call an API already.
	want := append([]string{sidecarName}, names(given.Spec.InitContainers)...)
	if !slices.Equal(names(pod.Spec.InitContainers), want) || !slices.Equal(names(pod.Spec.Containers), names(given.Spec.Containers)) {
		t.Errorf("init containers %q, containers %q, want %q and %q", names(pod.Spec.InitContainers), names(pod.Spec.Containers),
			want, names(given.Spec.Containers))
		return
	}
	if pod.Labels[label] != c.profile || !contains(pod.Labels, given.Labels) || !contains(pod.Annotations, given.Annotations) {
		t.Errorf("labels %v, annotations %v", pod.Labels, pod.Annotations)
	}
	c.checkSidecar(t, pod)
	c.checkVolumes(t, given, pod)
	for i, before := range slices.Concat(given.Spec.InitContainers, given.Spec.Containers) {
		after := slices.Concat(pod.Spec.InitContainers[1:], pod.Spec.Containers)[i]
		c.checkVariables(t, before, after)
		// What the API server itself adds to a container is not compared.
		if after.Image != before.Image || !reflect.DeepEqual(after.SecurityContext, before.SecurityContext) {
			t.Errorf("container %s is changed: %+v", after.Name, after)
		}
	}
}

// checkSidecar checks the container itself.
func (c injectCase) checkSidecar(t *testing.T, pod *core.Pod) {
	t.Helper()
	sidecar := pod.Spec.InitContainers[0]
	if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("the sidecar's restartPolicy is not Always: the pod would wait for its end")
	}
	if _, there := variable(sidecar, urlVariable); there {
		t.Errorf("the sidecar itself has %s", urlVariable)
	}
	grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	delay, _ := variable(sidecar, "SIDECAR_DRAIN_DELAY")
	drain, _ := variable(sidecar, "SIDECAR_DRAIN_TIMEOUT")
	before, err1 := time.ParseDuration(delay)
	timeout, err2 := time.ParseDuration(drain)
	// It uses what the pod's grace period has, save for some seconds.
	if err1 != nil || err2 != nil || before+timeout > grace-2*time.Second || before+timeout < grace-10*time.Second {
		t.Errorf("with a grace period of %s it drains %q after %q", grace, drain, delay)
	}
}

// checkVolumes checks that the sidecar has its volumes, and the app those it had.
func (c injectCase) checkVolumes(t *testing.T, given *core.PodTemplateSpec, pod *core.Pod) {
	t.Helper()
	count := map[string]int{}
	for _, v := range pod.Spec.Volumes {
		count[v.Name]++
	}
	for _, v := range given.Spec.Volumes {
		if count[v.Name] != 1 {
			t.Errorf("volume %s is there %d times", v.Name, count[v.Name])
		}
	}
	if count[sidecarName] != 1 {
		t.Errorf("the sidecar's volume is there %d times", count[sidecarName])
	}
	for _, m := range pod.Spec.InitContainers[0].VolumeMounts {
		if count[m.Name] != 1 {
			t.Errorf("mount of volume %s, which is there %d times", m.Name, count[m.Name])
		}
	}
}

// checkVariables checks the environment of a container of the app.
func (c injectCase) checkVariables(t *testing.T, before, after core.Container) {
	t.Helper()
	want := c.url
	if want == "" {
		want = sidecarURL
	}
	if url, _ := variable(after, urlVariable); url != want {
		t.Errorf("%s has %s %q, want %q", after.Name, urlVariable, url, want)
	}
	seen := map[string]int{}
	for _, e := range after.Env {
		seen[e.Name]++
	}
	if seen[urlVariable] != 1 {
		t.Errorf("%s has %s %d times", after.Name, urlVariable, seen[urlVariable])
	}
	for _, e := range before.Env {
		i := slices.IndexFunc(after.Env, func(a core.EnvVar) bool { return a.Name == e.Name })
		if i < 0 || !reflect.DeepEqual(after.Env[i], e) {
			t.Errorf("%s has lost %s", after.Name, e.Name)
		}
	}
}

func names(containers []core.Container) []string {
	var all []string
	for _, c := range containers {
		all = append(all, c.Name)
	}
	return all
}

// variable returns the value of a variable, and whether the container has it.
func variable(c core.Container, name string) (string, bool) {
	for _, e := range c.Env {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

// contains reports whether all has everything of part.
func contains(all, part map[string]string) bool {
	for key, value := range part {
		if all[key] != value {
			return false
		}
	}
	return true
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(b)
	maps.Copy(all, a)
	return all
}

// What the pods of the table have beside the smallest one.

func withInitContainers(pod *core.PodTemplateSpec) {
	for _, name := range []string{"migrate", "warm-up"} {
		c := *pod.Spec.Containers[0].DeepCopy()
		c.Name = name
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
}

func withSecondContainer(pod *core.PodTemplateSpec) {
	c := *pod.Spec.Containers[0].DeepCopy()
	c.Name = "worker"
	pod.Spec.Containers = append(pod.Spec.Containers, c)
}

func withVolume(pod *core.PodTemplateSpec) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: "scratch", VolumeSource: core.VolumeSource{EmptyDir: &core.EmptyDirVolumeSource{}}})
	app := &pod.Spec.Containers[0]
	app.VolumeMounts = append(app.VolumeMounts, core.VolumeMount{Name: "scratch", MountPath: "/scratch"})
}

func withSidecarsVolume(pod *core.PodTemplateSpec) {
	withVolume(pod)
	pod.Spec.Volumes[0].Name, pod.Spec.Containers[0].VolumeMounts[0].Name = sidecarName, sidecarName
}

func withSidecarsName(pod *core.PodTemplateSpec) {
	withSecondContainer(pod)
	pod.Spec.Containers[1].Name = sidecarName
}

func withLabels(pod *core.PodTemplateSpec) {
	pod.Labels = map[string]string{"app.kubernetes.io/name": "shop", "team": "books"}
}

func withEnv(pod *core.PodTemplateSpec) {
	app := &pod.Spec.Containers[0]
	app.Env = append(app.Env, core.EnvVar{Name: "LANG", Value: "C.UTF-8"}, core.EnvVar{Name: "BOOKS_URL", Value: "$(" + urlVariable + ")/oclc"})
}

func withURL(pod *core.PodTemplateSpec) {
	withEnv(pod)
	app := &pod.Spec.Containers[0]
	app.Env = append(app.Env, core.EnvVar{Name: urlVariable, Value: "http://127.0.0.1:9999"})
}

func withAll(pod *core.PodTemplateSpec) {
	withInitContainers(pod)
	withSecondContainer(pod)
	withVolume(pod)
	withLabels(pod)
	withEnv(pod)
}

func withoutAccountToken(pod *core.PodTemplateSpec) {
	no := false
	pod.Spec.AutomountServiceAccountToken = &no
}

func withGrace(seconds int64) func(*core.PodTemplateSpec) {
	return func(pod *core.PodTemplateSpec) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
}

func withHostNetwork(pod *core.PodTemplateSpec) { pod.Spec.HostNetwork = true }

// withWindows leaves out what a pod for Windows may not have.
func withWindows(pod *core.PodTemplateSpec) {
	pod.Spec.OS = &core.PodOS{Name: core.Windows}
	pod.Spec.Containers[0].SecurityContext = nil
}
