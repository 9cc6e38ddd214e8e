package podtable

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
)

// Reporter takes what is wrong; a *testing.T is one.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Error(args ...any)
}

// CheckRefused fails unless err is a validating policy's refusal with all the words.
func (c Case) CheckRefused(t Reporter, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("the pod is accepted; want a refusal that says %q", c.Refused)
		return
	}
	for _, word := range append(slices.Clone(c.Refused), Annotation, "ValidatingAdmissionPolicy") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal does not say %q: %v", word, err)
		}
	}
}

// CheckLeftAlone fails if anything of the sidecar is in the pod.
func CheckLeftAlone(t Reporter, given *core.PodTemplateSpec, pod *core.Pod) {
	t.Helper()
	if !maps.Equal(pod.Labels, given.Labels) || !maps.Equal(pod.Annotations, given.Annotations) {
		t.Errorf("labels %v and annotations %v", pod.Labels, pod.Annotations)
	}
	if !slices.Equal(names(pod.Spec.InitContainers), names(given.Spec.InitContainers)) ||
		!slices.Equal(names(pod.Spec.Containers), names(given.Spec.Containers)) {
		t.Errorf("init containers %q, containers %q", names(pod.Spec.InitContainers), names(pod.Spec.Containers))
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if _, there := variable(c, URLVariable); there {
			t.Errorf("%s has %s", c.Name, URLVariable)
		}
	}
}

// CheckInjected checks what every injected pod has, and that it has kept what it had.
func (c Case) CheckInjected(t Reporter, given *core.PodTemplateSpec, pod *core.Pod) {
	t.Helper()
	// First, so that a migration before the app can call an API already.
	want := append([]string{Sidecar}, names(given.Spec.InitContainers)...)
	if !slices.Equal(names(pod.Spec.InitContainers), want) || !slices.Equal(names(pod.Spec.Containers), names(given.Spec.Containers)) {
		t.Errorf("init containers %q, containers %q, want %q and %q", names(pod.Spec.InitContainers), names(pod.Spec.Containers),
			want, names(given.Spec.Containers))
		return
	}
	if pod.Labels[Label] != c.Profile || !contains(pod.Labels, given.Labels) || !contains(pod.Annotations, given.Annotations) {
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
func (c Case) checkSidecar(t Reporter, pod *core.Pod) {
	t.Helper()
	sidecar := pod.Spec.InitContainers[0]
	if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != core.ContainerRestartPolicyAlways {
		t.Error("the sidecar's restartPolicy is not Always: the pod would wait for its end")
	}
	if _, there := variable(sidecar, URLVariable); there {
		t.Errorf("the sidecar itself has %s", URLVariable)
	}
	grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	delay, _ := variable(sidecar, "SIDECAR_DRAIN_DELAY")
	drain, _ := variable(sidecar, "SIDECAR_DRAIN_TIMEOUT")
	before, err1 := time.ParseDuration(delay)
	timeout, err2 := time.ParseDuration(drain)
	// It uses what the pod's grace period has, save for some seconds.
	if err1 != nil || err2 != nil || before+timeout > grace-2*time.Second || before+timeout < min(grace-10*time.Second, 10*time.Minute) {
		t.Errorf("with a grace period of %s it drains %q after %q", grace, drain, delay)
	}
}

// checkVolumes checks that the sidecar has its volumes, and the app those it had.
func (c Case) checkVolumes(t Reporter, given *core.PodTemplateSpec, pod *core.Pod) {
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
	if count[Sidecar] != 1 {
		t.Errorf("the sidecar's volume is there %d times", count[Sidecar])
	}
	for _, m := range pod.Spec.InitContainers[0].VolumeMounts {
		if count[m.Name] != 1 {
			t.Errorf("mount of volume %s, which is there %d times", m.Name, count[m.Name])
		}
	}
}

// checkVariables checks the environment of a container of the app.
func (c Case) checkVariables(t Reporter, before, after core.Container) {
	t.Helper()
	want := c.URL
	if want == "" {
		want = URL
	}
	if url, _ := variable(after, URLVariable); url != want {
		t.Errorf("%s has %s %q, want %q", after.Name, URLVariable, url, want)
	}
	if _, own := variable(before, URLVariable); !own && len(after.Env) > 0 && after.Env[0].Name != URLVariable {
		t.Errorf("in %s other variables cannot refer to %s, which comes after them", after.Name, URLVariable)
	}
	seen := map[string]int{}
	for _, e := range after.Env {
		seen[e.Name]++
	}
	if seen[URLVariable] != 1 {
		t.Errorf("%s has %s %d times", after.Name, URLVariable, seen[URLVariable])
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
