package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
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

// TestClassicJobEnds takes the documents' Job for clusters without native sidecars: its container must stop the
// sidecar, and end as its work ended.
func TestClassicJobEnds(t *testing.T) {
	only := func(file string) bool { return strings.HasSuffix(file, "-classic.yaml") }
	text, err := renderText(docsChartOf(t, only), docsValues(t)[0], "v1.28.5")
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, text)
	checkPod(t, objects)
	pod := onlyPod(t, objects)
	c, native := sidecar(t, pod)
	app := pod.Spec.Containers[0]
	if native || pod.Spec.ShareProcessNamespace == nil || !*pod.Spec.ShareProcessNamespace ||
		*app.SecurityContext.RunAsUser != *c.SecurityContext.RunAsUser {
		t.Error("the container may not send a signal to the sidecar")
	}
	if pod.Spec.RestartPolicy != core.RestartPolicyNever {
		t.Error("the container starts again without the sidecar")
	}

	env := environ(t, objects, pod, t.TempDir())
	env["SIDECAR_LISTEN"], env["SIDECAR_ADMIN_LISTEN"], env["SIDECAR_DRAIN_DELAY"] = "127.0.0.1:0", "127.0.0.1:0", "0s"
	p := start(t, exec.Command(binary(t)), env)
	// This pkill signals no other process of that name.
	bin := t.TempDir()
	comm := strings.TrimSpace(string(read(t, fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid))))
	// The first time it finds none, as while the sidecar's image is on its way.
	pkill := fmt.Sprintf("#!/bin/sh\n[ \"$*\" = '-TERM -x %s' ] || exit 2\nmkdir %s/late 2>/dev/null && exit 1\nkill -TERM %d\n", comm, bin, p.cmd.Process.Pid)
	if got := endOf(t, app, bin, pkill, "exit 3", nil); got != 3 {
		t.Errorf("the container ends with %d", got)
	}
	eventually(t, func() error {
		if !strings.Contains(p.logged(), `"stopped"`) {
			return errors.New("the sidecar is not stopped")
		}
		return nil
	})
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("the sidecar ends with %v, and the Job's pod fails", err)
	}
}

// TestClassicJobPassesSignalsOn has the Job deleted while its work goes on: that is told, and ends in its own time.
func TestClassicJobPassesSignalsOn(t *testing.T) {
	only := func(file string) bool { return strings.HasSuffix(file, "-classic.yaml") }
	text, err := renderText(docsChartOf(t, only), docsValues(t)[0], "v1.28.5")
	if err != nil {
		t.Fatal(err)
	}
	app := onlyPod(t, decode(t, text)).Spec.Containers[0]
	bin := t.TempDir()
	work := "trap 'echo told; sleep 0.2; exit 5' TERM\ntouch " + bin + "/works\nwhile :; do sleep 0.05; done"
	got := endOf(t, app, bin, "#!/bin/sh\ntouch "+bin+"/stopped\n", work, func(shell *os.Process) {
		eventually(t, func() error { _, err := os.Stat(bin + "/works"); return err })
		_ = shell.Signal(syscall.SIGTERM)
	})
	if _, err := os.Stat(bin + "/stopped"); err != nil || got != 5 {
		t.Errorf("the container ends with %d; the sidecar: %v", got, err)
	}
}

// endOf runs a container's script, with a program shop and a pkill in bin, and returns its exit code.
func endOf(t *testing.T, app core.Container, bin, pkill, work string, meanwhile func(*os.Process)) int {
	t.Helper()
	for name, script := range map[string]string{"shop": "#!/bin/sh\n[ \"$*\" = import ] || exit 2\n" + work + "\n", "pkill": pkill} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(app.Command[0], append(app.Command[1:], app.Args...)...)
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile(cmd.Process)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}
