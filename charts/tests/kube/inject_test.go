package kube

import (
	"os"
	"path/filepath"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Profiles of the two releases of the value set inject that TestRenderedForKube renders.
const (
	demoProfile  = "library"
	otherProfile = "other"
)

// injectCase is a pod and what becomes of it.
type injectCase struct {
	name    string
	kind    string // of the workload whose pod it is; a bare pod if empty
	profile string // that it asks for; none if empty
	change  func(*core.PodTemplateSpec)
	// privileged says that PodSecurity's level restricted would refuse the pod before a policy does.
	privileged bool

	refused []string // words of the refusal, whichever release says it; it is not refused if empty
	url     string   // that the app's containers have for the sidecar, if not the chart's
}

// injectCases are the pods for which the chart says what becomes of them.
func injectCases() []injectCase {
	unknown := []string{annotation, noProfile}
	return []injectCase{
		{name: "bare pod", profile: demoProfile},
		{name: "Deployment", kind: "Deployment", profile: demoProfile},
		{name: "Job", kind: "Job", profile: demoProfile},
		{name: "CronJob", kind: "CronJob", profile: demoProfile},
		{name: "init containers", profile: demoProfile, change: withInitContainers},
		{name: "Job with init containers", kind: "Job", profile: demoProfile, change: withInitContainers},
		{name: "volumes", profile: demoProfile, change: withVolume},
		{name: "labels", profile: demoProfile, change: withLabels},
		{name: "env", profile: demoProfile, change: withEnv},
		{name: "two containers", profile: demoProfile, change: withSecondContainer},
		{name: "all of it", kind: "Deployment", profile: demoProfile, change: withAll},
		{name: "URL of its own", profile: demoProfile, change: withURL, url: "http://127.0.0.1:9999"},
		{name: "no token of the service account", profile: demoProfile, change: withoutAccountToken},
		{name: "long grace period", profile: demoProfile, change: withGrace(120)},
		{name: "other release", profile: otherProfile},
		{name: "other release's Deployment", kind: "Deployment", profile: otherProfile, change: withAll},

		{name: "does not ask", profile: ""},
		{name: "Deployment that does not ask", kind: "Deployment", profile: "", change: withAll},
		{name: "does not ask, on the host's network", profile: "", change: withHostNetwork, privileged: true},
		{name: "does not ask, short grace period", profile: "", change: withGrace(5)},
		{name: "does not ask, Windows", profile: "", change: withWindows, privileged: true},

		{name: "unknown profile", profile: noProfile, refused: unknown},
		{name: "Deployment with an unknown profile", kind: "Deployment", profile: noProfile, refused: unknown},
		{name: "host's network", profile: demoProfile, change: withHostNetwork, privileged: true, refused: []string{"hostNetwork"}},
		{name: "Windows", profile: demoProfile, change: withWindows, privileged: true, refused: []string{"Windows"}},
		{name: "short grace period", profile: demoProfile, change: withGrace(5), refused: []string{"terminationGracePeriodSeconds"}},
		{name: "short grace period, other release", profile: otherProfile, change: withGrace(5), refused: []string{"terminationGracePeriodSeconds"}},
		{name: "volume of the sidecar's name", profile: demoProfile, change: withSidecarsVolume, refused: []string{"volume named token-sidecar"}},
		{name: "container of the sidecar's name", profile: demoProfile, change: withSidecarsName, refused: []string{"container named token-sidecar"}},
	}
}

// releases are those of the value set inject by profile, or none if the chart has no such set.
func releases(t *testing.T) map[string][]*unstructured.Unstructured {
	if _, err := os.Stat(filepath.Join(rendered, "inject")); err != nil {
		return nil
	}
	return map[string][]*unstructured.Unstructured{
		demoProfile:  objects(t, filepath.Join(rendered, "inject", "demo.yaml")),
		otherProfile: objects(t, filepath.Join(rendered, "inject", "other.yaml")),
	}
}

// TestAnnotatedPodsGetTheSidecar installs two releases of the chart side by side and creates all
// pods of the table, then takes the binding of one away.
func TestAnnotatedPodsGetTheSidecar(t *testing.T) {
	cases, both := injectCases(), releases(t)
	if both == nil {
		t.Skipf("NOT RUN: there is no value set inject, so the %d pods of the table are not created", len(cases))
	}
	selected := selector(t, both[demoProfile])
	namespace(t, "injected", "restricted", selected)
	namespace(t, "injected-privileged", "privileged", selected)
	namespace(t, "injected-outside", "restricted", nil)
	for _, profile := range []string{demoProfile, otherProfile} {
		namespace(t, "release-"+profile, "restricted", nil)
		install(t, "release-"+profile, both[profile])
		awaitPolicies(t, "injected", profile, both[profile])
		// A release knows more of its own profile. With two it is left open which of them speaks.
		if profile == demoProfile {
			short := injectCase{name: "alone", profile: profile, change: withGrace(5), refused: []string{"terminationGracePeriodSeconds is 5"}}
			t.Run(short.name, func(t *testing.T) { short.run(t, "injected") })
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(t, "injected") })
	}
	t.Run("outside of the selected namespaces", func(t *testing.T) {
		asks := injectCase{profile: demoProfile}.template()
		pod, err := api.createPod(t.Context(), "injected-outside", asks, false)
		if err != nil {
			t.Fatal(err)
		}
		checkLeftAlone(t, asks, pod)
	})
	t.Run("without the binding", func(t *testing.T) {
		unbind(t, "injected", demoProfile, both[demoProfile])
		for _, c := range []injectCase{
			{profile: demoProfile, refused: []string{demoProfile, "nobody injected"}},
			{profile: demoProfile, kind: "Deployment", change: withAll, refused: []string{demoProfile, "nobody injected"}},
			{profile: otherProfile},
			{profile: ""},
		} {
			c.name = "unbound-" + c.kind + c.profile
			c.run(t, "injected")
		}
	})
}

// selector are the labels of the namespaces that the release's policies look at.
func selector(t *testing.T, release []*unstructured.Unstructured) map[string]string {
	t.Helper()
	for _, object := range release {
		labels, found, err := unstructured.NestedStringMap(object.Object, "spec", "matchConstraints", "namespaceSelector", "matchLabels")
		if err != nil {
			t.Fatal(err)
		}
		if found && object.GetKind() == "MutatingAdmissionPolicy" {
			return labels
		}
	}
	t.Fatal("no MutatingAdmissionPolicy with namespaceSelector.matchLabels")
	return nil
}

// template is the case's pod before the policies.
func (c injectCase) template() *core.PodTemplateSpec {
	pod := appPod(nil)
	if c.profile != "" {
		pod.Annotations = map[string]string{annotation: c.profile}
	}
	if c.change != nil {
		c.change(pod)
	}
	return pod
}

// run creates the case's pod by dry run and for real, which must come to the same.
func (c injectCase) run(t *testing.T, namespace string) {
	if c.privileged {
		namespace += "-privileged"
	}
	given := c.workload(t, namespace)
	for _, dryRun := range []bool{true, false} {
		pod, err := api.createPod(t.Context(), namespace, given, dryRun)
		switch {
		case len(c.refused) > 0:
			refusedWith(t, err, append(c.refused, annotation)...)
			continue
		case err != nil:
			t.Error(err)
			continue
		case !dryRun:
			// What is stored, and not only answered.
			if pod, err = api.client.CoreV1().Pods(namespace).Get(t.Context(), pod.Name, meta.GetOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if c.profile == "" {
			checkLeftAlone(t, given, pod)
			continue
		}
		c.checkInjected(t, given, pod)
		// Through the policies again, as where another one mutates the pod after ours.
		again, err := api.createPod(t.Context(), namespace, &core.PodTemplateSpec{ObjectMeta: meta.ObjectMeta{
			Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec}, true)
		if err != nil {
			t.Errorf("a second time: %v", err)
			continue
		}
		c.checkInjected(t, given, again)
	}
}

// workload creates the case's workload and returns the pod template that is stored of it.
func (c injectCase) workload(t *testing.T, namespace string) *core.PodTemplateSpec {
	t.Helper()
	pod := c.template()
	about := meta.ObjectMeta{GenerateName: "workload-"}
	ctx, options := t.Context(), createOptions(false)
	job := batch.JobSpec{Template: *pod}
	job.Template.Spec.RestartPolicy = core.RestartPolicyNever
	var err error
	switch c.kind {
	case "":
	case "Deployment":
		pod.Labels = merged(pod.Labels, map[string]string{"app": "workload"})
		spec := apps.DeploymentSpec{Template: *pod, Selector: &meta.LabelSelector{MatchLabels: map[string]string{"app": "workload"}}}
		var d *apps.Deployment
		if d, err = api.client.AppsV1().Deployments(namespace).Create(ctx, &apps.Deployment{ObjectMeta: about, Spec: spec}, options); err == nil {
			pod = &d.Spec.Template
		}
	case "Job":
		var j *batch.Job
		if j, err = api.client.BatchV1().Jobs(namespace).Create(ctx, &batch.Job{ObjectMeta: about, Spec: job}, options); err == nil {
			pod = &j.Spec.Template
		}
	case "CronJob":
		spec := batch.CronJobSpec{Schedule: "0 4 * * *", JobTemplate: batch.JobTemplateSpec{Spec: job}}
		var j *batch.CronJob
		if j, err = api.client.BatchV1().CronJobs(namespace).Create(ctx, &batch.CronJob{ObjectMeta: about, Spec: spec}, options); err == nil {
			pod = &j.Spec.JobTemplate.Spec.Template
		}
	default:
		t.Fatalf("no workload of kind %s", c.kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
