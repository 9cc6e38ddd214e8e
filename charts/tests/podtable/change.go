package podtable

import core "k8s.io/api/core/v1"

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
	pod.Spec.Volumes[0].Name, pod.Spec.Containers[0].VolumeMounts[0].Name = Sidecar, Sidecar
}

func withSidecarsName(pod *core.PodTemplateSpec) {
	withSecondContainer(pod)
	pod.Spec.Containers[1].Name = Sidecar
}

func withLabels(pod *core.PodTemplateSpec) {
	pod.Labels = map[string]string{"app.kubernetes.io/name": "shop", "team": "books"}
}

func withEnv(pod *core.PodTemplateSpec) {
	app := &pod.Spec.Containers[0]
	app.Env = append(app.Env, core.EnvVar{Name: "LANG", Value: "C.UTF-8"}, core.EnvVar{Name: "BOOKS_URL", Value: "$(" + URLVariable + ")/oclc"})
}

func withURL(pod *core.PodTemplateSpec) {
	withEnv(pod)
	app := &pod.Spec.Containers[0]
	app.Env = append(app.Env, core.EnvVar{Name: URLVariable, Value: "http://127.0.0.1:9999"})
}

// WithAll is for a pod that has everything that an injected one may have.
func WithAll(pod *core.PodTemplateSpec) {
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

// WithGrace sets the time that a pod has for its end, in seconds.
func WithGrace(seconds int64) func(*core.PodTemplateSpec) {
	return func(pod *core.PodTemplateSpec) { pod.Spec.TerminationGracePeriodSeconds = &seconds }
}

func withHostNetwork(pod *core.PodTemplateSpec) { pod.Spec.HostNetwork = true }

// withWindows leaves out what a pod for Windows may not have.
func withWindows(pod *core.PodTemplateSpec) {
	pod.Spec.OS = &core.PodOS{Name: core.Windows}
	pod.Spec.Containers[0].SecurityContext = nil
}

func withEmptyAnnotation(pod *core.PodTemplateSpec) {
	pod.Annotations = map[string]string{Annotation: ""}
}

func withLinux(pod *core.PodTemplateSpec) {
	pod.Spec.OS = &core.PodOS{Name: core.Linux}
	pod.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "linux", "disk": "fast"}
}

func withWindowsNode(pod *core.PodTemplateSpec) {
	pod.Spec.NodeSelector = map[string]string{"kubernetes.io/os": "windows"}
}
