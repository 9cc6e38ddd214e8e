package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"token-sidecar/charts/tests/podtable"
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
		pod, err := api.createPod(t.Context(), namespace, podtable.App(profile), true)
		if err != nil && !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			broken = fmt.Errorf("a pod that asks for %s: %w", profile, err)
			return nil // it gets no better by waiting
		}
		if err != nil {
			return err
		}
		if pod.Labels[podtable.Label] != profile {
			return fmt.Errorf("a pod that asks for %s is not mutated", profile)
		}
		if _, err := api.createPod(t.Context(), namespace, podtable.App(podtable.NoProfile), true); err == nil {
			return fmt.Errorf("a pod that asks for %s is not refused", podtable.NoProfile)
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
		pod, err := api.createPod(t.Context(), namespace, podtable.App(profile), true)
		if err == nil && pod.Labels[podtable.Label] == profile {
			return fmt.Errorf("pods that ask for %s are mutated", profile)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
