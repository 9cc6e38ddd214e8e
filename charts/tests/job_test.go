package tests

import (
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// podOf returns the pod template of a workload, and nil for other objects.
func podOf(object runtime.Object) *core.PodTemplateSpec {
	switch o := object.(type) {
	case *apps.Deployment:
		return &o.Spec.Template
	case *apps.StatefulSet:
		return &o.Spec.Template
	case *apps.DaemonSet:
		return &o.Spec.Template
	case *batch.Job:
		return &o.Spec.Template
	case *batch.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	}
	return nil
}

// checkRestart makes sure that new settings reach the pods. Those of a Job read them anew each time.
func checkRestart(t *testing.T, object runtime.Object, pod *core.PodTemplateSpec) {
	t.Helper()
	switch o := object.(type) {
	case *batch.Job:
		checkJob(t, o.Name, o.Spec)
	case *batch.CronJob:
		checkJob(t, o.Name, o.Spec.JobTemplate.Spec)
	default:
		if pod.Annotations["checksum/token-sidecar"] == "" {
			t.Error("a change of settings does not restart the pod")
		}
	}
}

// checkJob makes sure that a Job is one that Kubernetes takes, and that it fails some day if its sidecar
// never becomes ready: with restartPolicy Never nothing else would end it.
func checkJob(t *testing.T, name string, job batch.JobSpec) {
	t.Helper()
	if p := job.Template.Spec.RestartPolicy; p != core.RestartPolicyNever && p != core.RestartPolicyOnFailure {
		t.Errorf("Job %s has restartPolicy %q", name, p)
	}
	if job.ActiveDeadlineSeconds == nil {
		t.Errorf("Job %s has no activeDeadlineSeconds", name)
	}
}
