// Package podtable has the pods with which the chart's admission policies are tried, and says what must
// become of each. Two sets of tests go by it: charts/tests, where the API server's own plugins
// evaluate the policies in process, and charts/tests/kube, which has a real API server. It is a
// module of its own since those two pin different things.
//
// podtable.go has the table, change.go what its pods differ in, and check.go what is checked.
package podtable

import (
	"strings"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	Annotation = "token-sidecar.dev/inject"  // by which a pod asks for a profile
	Label      = "token-sidecar.dev/profile" // that an injected pod has
	Sidecar    = "token-sidecar"             // name of the container and of its volume

	// Profiles of the two releases of the chart that are there.
	Library = "library"
	Other   = "other"
	// NoProfile is what no release answers to.
	NoProfile = "no-such-profile"

	// URLVariable tells the app's containers where the sidecar is: at URL, unless they say otherwise.
	URLVariable = "TOKEN_SIDECAR_URL"
	URL         = "http://127.0.0.1:8080"
)

// Case is a pod and what becomes of it.
type Case struct {
	Name    string
	Kind    string // of the workload whose pod it is: Deployment, Job or CronJob; a bare pod if empty
	Profile string // that it asks for; none if empty
	Change  func(*core.PodTemplateSpec)
	// Privileged says that PodSecurity's level restricted would refuse the pod before a policy does.
	Privileged bool

	Refused []string // words of the refusal; it is not refused if empty
	URL     string   // that the app's containers have for the sidecar, if not URL
}

// Cases are the pods for which the chart says what becomes of them.
func Cases() []Case {
	unknown := []string{Annotation, NoProfile}
	return []Case{
		{Name: "bare pod", Profile: Library},
		{Name: "Deployment", Kind: "Deployment", Profile: Library},
		{Name: "Job", Kind: "Job", Profile: Library},
		{Name: "CronJob", Kind: "CronJob", Profile: Library},
		{Name: "init containers", Profile: Library, Change: withInitContainers},
		{Name: "Job with init containers", Kind: "Job", Profile: Library, Change: withInitContainers},
		{Name: "volumes", Profile: Library, Change: withVolume},
		{Name: "labels", Profile: Library, Change: withLabels},
		{Name: "env", Profile: Library, Change: withEnv},
		{Name: "two containers", Profile: Library, Change: withSecondContainer},
		{Name: "all of it", Kind: "Deployment", Profile: Library, Change: WithAll},
		{Name: "URL of its own", Profile: Library, Change: withURL, URL: "http://127.0.0.1:9999"},
		{Name: "no token of the service account", Profile: Library, Change: withoutAccountToken},
		{Name: "long grace period", Profile: Library, Change: WithGrace(120)},
		{Name: "least grace period", Profile: Library, Change: WithGrace(10)},
		{Name: "Linux by name", Profile: Library, Change: withLinux},
		{Name: "other release", Profile: Other},
		{Name: "other release's Deployment", Kind: "Deployment", Profile: Other, Change: WithAll},

		{Name: "does not ask", Profile: ""},
		{Name: "Deployment that does not ask", Kind: "Deployment", Profile: "", Change: WithAll},
		{Name: "does not ask, on the host's network", Profile: "", Change: withHostNetwork, Privileged: true},
		{Name: "does not ask, short grace period", Profile: "", Change: WithGrace(5)},
		{Name: "does not ask, Windows", Profile: "", Change: withWindows, Privileged: true},

		{Name: "unknown profile", Profile: NoProfile, Refused: unknown},
		{Name: "Deployment with an unknown profile", Kind: "Deployment", Profile: NoProfile, Refused: unknown},
		{Name: "empty annotation", Change: withEmptyAnnotation, Refused: []string{"(not the name of a profile)"}},
		{Name: "profile in capitals", Profile: "Library", Refused: []string{"(not the name of a profile)"}},
		{Name: "profile of many lines", Profile: "library\n" + strings.Repeat("x", 10_000), Refused: []string{"(not the name of a profile)"}},
		{Name: "host's network", Profile: Library, Change: withHostNetwork, Privileged: true, Refused: []string{"hostNetwork"}},
		{Name: "Windows", Profile: Library, Change: withWindows, Privileged: true, Refused: []string{"Windows"}},
		{Name: "Windows by node", Profile: Library, Change: withWindowsNode, Refused: []string{"Windows"}},
		{Name: "short grace period", Profile: Library, Change: WithGrace(5), Refused: []string{"terminationGracePeriodSeconds"}},
		{Name: "short grace period, other release", Profile: Other, Change: WithGrace(9), Refused: []string{"terminationGracePeriodSeconds"}},
		{Name: "volume of the sidecar's name", Profile: Library, Change: withSidecarsVolume, Refused: []string{"volume named token-sidecar"}},
		{Name: "container of the sidecar's name", Profile: Library, Change: withSidecarsName, Refused: []string{"container named token-sidecar"}},
	}
}

// Template is the case's pod before the policies.
func (c Case) Template() *core.PodTemplateSpec {
	pod := App(c.Profile)
	if c.Change != nil {
		c.Change(pod)
	}
	if c.Kind == "Job" || c.Kind == "CronJob" {
		pod.Spec.RestartPolicy = core.RestartPolicyNever
	}
	return pod
}

// App is a template of a small app's pod that PodSecurity's level restricted takes, and which asks
// for the profile, if there is one.
func App(profile string) *core.PodTemplateSpec {
	yes, no := true, false
	pod := &core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{
		Name:  "app",
		Image: "registry.example/app:1",
		SecurityContext: &core.SecurityContext{
			RunAsNonRoot:             &yes,
			AllowPrivilegeEscalation: &no,
			Capabilities:             &core.Capabilities{Drop: []core.Capability{"ALL"}},
			SeccompProfile:           &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault},
		},
	}}}}
	if profile != "" {
		pod.ObjectMeta = meta.ObjectMeta{Annotations: map[string]string{Annotation: profile}}
	}
	return pod
}
