package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	annotation = "token-sidecar.dev/inject"
	label      = "token-sidecar.dev/profile"
	// noProfile is what no release answers to.
	noProfile = "no-such-profile"
)

// install creates the objects of a release. Those of the whole cluster are deleted with the test.
func install(t *testing.T, namespace string, release []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range release {
		resources, namespaced, err := api.resources(object.GroupVersionKind(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.create(t.Context(), namespace, object, false); err != nil {
			t.Fatal(err)
		}
		if !namespaced {
			name := object.GetName()
			t.Cleanup(func() {
				// t.Context has ended by now, and the test may have deleted the object itself.
				err := resources.Delete(context.Background(), name, meta.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					t.Error(err)
				}
			})
		}
	}
}

// policies are the names of a release's policies of a kind.
func policies(release []*unstructured.Unstructured, kind string) []string {
	var names []string
	for _, object := range release {
		if object.GetKind() == kind {
			names = append(names, object.GetName())
		}
	}
	return names
}

// awaitPolicies returns when the API server goes by all policies of a release, which it does a
// moment after they are created. Pods are tried by dry run in the namespace: one that asks for the
// profile is mutated then, and one that asks for a profile of nobody's is refused by every
// validating policy, which only the metrics tell if there are several.
func awaitPolicies(t *testing.T, namespace, profile string, release []*unstructured.Unstructured) {
	t.Helper()
	var broken error
	err := eventually(t.Context(), func() error {
		pod, err := api.createPod(t.Context(), namespace, appPod(map[string]string{annotation: profile}), true)
		if err != nil && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			broken = fmt.Errorf("a pod that asks for %s: %w", profile, err)
			return nil // it gets no better by waiting
		}
		if err != nil {
			return err
		}
		if pod.Labels[label] != profile {
			return fmt.Errorf("a pod that asks for %s is not mutated", profile)
		}
		if _, err := api.createPod(t.Context(), namespace, appPod(map[string]string{annotation: noProfile}), true); err == nil {
			return fmt.Errorf("a pod that asks for %s is not refused", noProfile)
		}
		metrics, err := api.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
		if err != nil {
			return err
		}
		for _, name := range policies(release, "ValidatingAdmissionPolicy") {
			refusals := regexp.MustCompile(`(?m)^apiserver_validating_admission_policy_check_total\{.*policy="` + regexp.QuoteMeta(name) + `"`)
			if !refusals.Match(metrics) {
				return fmt.Errorf("%s refuses nothing", name)
			}
		}
		return nil
	})
	if err := errors.Join(err, broken); err != nil {
		t.Fatal(err)
	}
}

// unbind deletes the bindings of a release's mutating policies, and returns when pods that ask for
// the profile are not mutated any more.
func unbind(t *testing.T, namespace, profile string, release []*unstructured.Unstructured) {
	t.Helper()
	bindings := policies(release, "MutatingAdmissionPolicyBinding")
	if len(bindings) == 0 {
		t.Fatal("no binding to delete")
	}
	for _, name := range bindings {
		err := api.client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings().Delete(t.Context(), name, meta.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := eventually(t.Context(), func() error {
		pod, err := api.createPod(t.Context(), namespace, appPod(map[string]string{annotation: profile}), true)
		if err == nil && pod.Labels[label] == profile {
			return fmt.Errorf("pods that ask for %s are mutated", profile)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// refusedWith fails unless err is a policy's refusal with all the words.
func refusedWith(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("the pod is accepted; want a refusal that says %q", words)
		return
	}
	for _, word := range append(words, "ValidatingAdmissionPolicy") {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("the refusal does not say %q: %v", word, err)
		}
	}
}

// appPod is a template of a small app's pod that PodSecurity's level restricted takes.
func appPod(annotations map[string]string) *core.PodTemplateSpec {
	yes, no := true, false
	return &core.PodTemplateSpec{
		ObjectMeta: meta.ObjectMeta{Annotations: annotations},
		Spec: core.PodSpec{Containers: []core.Container{{
			Name:  "app",
			Image: "registry.example/app:1",
			SecurityContext: &core.SecurityContext{
				RunAsNonRoot:             &yes,
				AllowPrivilegeEscalation: &no,
				Capabilities:             &core.Capabilities{Drop: []core.Capability{"ALL"}},
				SeccompProfile:           &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault},
			},
		}}},
	}
}

// TestPoliciesGetToPods shows with the smallest pair of policies that the tests see what policies
// do: mutated and refused pods, and the refusal once the mutating one is not bound any more.
func TestPoliciesGetToPods(t *testing.T) {
	namespace(t, "machinery", "restricted", map[string]string{"machinery": "yes"})
	namespace(t, "machinery-outside", "restricted", nil)
	release := objects(t, "testdata/machinery.yaml")
	asks := appPod(map[string]string{annotation: "machinery"})
	if pod, err := api.createPod(t.Context(), "machinery", asks, false); err != nil || pod.Labels[label] != "" {
		t.Fatalf("before there are policies: %v", err)
	}
	install(t, "machinery", release)
	awaitPolicies(t, "machinery", "machinery", release)

	pod, err := api.createPod(t.Context(), "machinery", asks, false)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := api.client.CoreV1().Pods("machinery").Get(t.Context(), pod.Name, meta.GetOptions{})
	if err != nil || stored.Labels[label] != "machinery" {
		t.Errorf("the stored pod has labels %v: %v", stored.Labels, err)
	}
	if pod, err := api.createPod(t.Context(), "machinery", appPod(nil), false); err != nil || pod.Labels[label] != "" {
		t.Errorf("a pod without the annotation: labels %v, %v", pod.Labels, err)
	}
	if pod, err := api.createPod(t.Context(), "machinery-outside", asks, false); err != nil || pod.Labels[label] != "" {
		t.Errorf("a pod elsewhere: labels %v, %v", pod.Labels, err)
	}
	_, err = api.createPod(t.Context(), "machinery", appPod(map[string]string{annotation: noProfile}), false)
	refusedWith(t, err, "nobody injected the profile "+noProfile)
	unbind(t, "machinery", "machinery", release)
	_, err = api.createPod(t.Context(), "machinery", asks, false)
	refusedWith(t, err, "nobody injected the profile machinery")
}
