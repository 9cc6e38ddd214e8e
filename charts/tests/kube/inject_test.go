package kube

import (
	"maps"
	"path/filepath"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"token-sidecar/charts/tests/podtable"
)

// TestAnnotatedPodsGetTheSidecar installs two releases of the chart side by side and creates all
// pods of the table, then takes the binding of one away.
func TestAnnotatedPodsGetTheSidecar(t *testing.T) {
	// TestRenderedForKube has rendered the value set inject for both.
	both := map[string][]*unstructured.Unstructured{
		podtable.Library: objects(t, filepath.Join(rendered, "inject", "demo.yaml")),
		podtable.Other:   objects(t, filepath.Join(rendered, "inject", "other.yaml")),
	}
	selected := selector(t, both[podtable.Library])
	namespace(t, "injected", "restricted", selected)
	namespace(t, "injected-privileged", "privileged", selected)
	namespace(t, "injected-outside", "restricted", nil)
	for _, profile := range []string{podtable.Library, podtable.Other} {
		namespace(t, "release-"+profile, "restricted", nil)
		install(t, "release-"+profile, both[profile])
		awaitPolicies(t, "injected", profile, both[profile])
		// A release knows more of its own profile. With two it is left open which of them speaks.
		if profile == podtable.Library {
			short := podtable.Case{Name: "alone", Profile: profile, Change: podtable.WithGrace(5), Refused: []string{"terminationGracePeriodSeconds is 5"}}
			t.Run(short.Name, func(t *testing.T) { tryCase(t, short, "injected") })
		}
	}
	for _, c := range podtable.Cases() {
		t.Run(c.Name, func(t *testing.T) { tryCase(t, c, "injected") })
	}
	t.Run("outside of the selected namespaces", func(t *testing.T) {
		asks := podtable.App(podtable.Library)
		pod, err := api.createPod(t.Context(), "injected-outside", asks, false)
		if err != nil {
			t.Fatal(err)
		}
		podtable.CheckLeftAlone(t, asks, pod)
	})
	t.Run("without the binding", func(t *testing.T) {
		unbind(t, "injected", podtable.Library, both[podtable.Library])
		for _, c := range []podtable.Case{
			{Profile: podtable.Library, Refused: []string{podtable.Library, "nobody injected"}},
			{Profile: podtable.Library, Kind: "Deployment", Change: podtable.WithAll, Refused: []string{podtable.Library, "nobody injected"}},
			{Profile: podtable.Other},
			{Profile: ""},
		} {
			c.Name = "unbound-" + c.Kind + c.Profile
			tryCase(t, c, "injected")
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

// tryCase creates the case's pod by dry run and for real, which must come to the same.
func tryCase(t *testing.T, c podtable.Case, namespace string) {
	if c.Privileged {
		namespace += "-privileged"
	}
	given := workload(t, c, namespace)
	for _, dryRun := range []bool{true, false} {
		pod, err := api.createPod(t.Context(), namespace, given, dryRun)
		switch {
		case len(c.Refused) > 0:
			c.CheckRefused(t, err)
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
		if c.Profile == "" {
			podtable.CheckLeftAlone(t, given, pod)
			continue
		}
		c.CheckInjected(t, given, pod)
		// Through the policies again, as where another one mutates the pod after ours.
		again, err := api.createPod(t.Context(), namespace, &core.PodTemplateSpec{ObjectMeta: meta.ObjectMeta{
			Labels: pod.Labels, Annotations: pod.Annotations}, Spec: pod.Spec}, true)
		if err != nil {
			t.Errorf("a second time: %v", err)
			continue
		}
		c.CheckInjected(t, given, again)
	}
}

// workload creates the case's workload and returns the pod template that is stored of it.
func workload(t *testing.T, c podtable.Case, namespace string) *core.PodTemplateSpec {
	t.Helper()
	pod := c.Template()
	about := meta.ObjectMeta{GenerateName: "workload-"}
	ctx, options := t.Context(), createOptions(false)
	job := batch.JobSpec{Template: *pod}
	var err error
	switch c.Kind {
	case "":
	case "Deployment":
		labels := map[string]string{"app": "workload"}
		maps.Copy(labels, pod.Labels)
		pod.Labels = labels
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
		t.Fatalf("no workload of kind %s", c.Kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pod
}
