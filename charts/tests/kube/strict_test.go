package kube

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"token-sidecar/charts/tests/podtable"
)

// leftOut are the kinds that this server does not have, with the number of objects among all
// manifests. Nothing else may be left out.
var leftOut = map[string]int{
	"external-secrets.io/v1 ExternalSecret": 1, // charts/tests decodes it into a type of its own
}

// TestManifestsAreAcceptedStrictly creates all that the chart renders of all values, and all that
// is in the documents, where an unknown field, a wrong type or an invalid name is refused; and the
// pods of the workloads, which controllers would create, under PodSecurity's level restricted.
func TestManifestsAreAcceptedStrictly(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(rendered, "*", ""))
	if err != nil {
		t.Fatal(err)
	}
	created, missing, pods, sets := map[string]int{}, map[string]int{}, 0, 0
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join(folder, "*.yaml"))
		if len(files) == 0 {
			continue // the file that names the version
		}
		sets++
		t.Run(filepath.Base(folder), func(t *testing.T) {
			namespace(t, filepath.Base(folder), "restricted", nil)
			for _, file := range files {
				for _, object := range objects(t, file) {
					kind := object.GetAPIVersion() + " " + object.GetKind()
					stored, dryRun, err := createRendered(t, filepath.Base(folder), object)
					switch {
					case apimeta.IsNoMatchError(err):
						missing[kind]++
						continue
					case err != nil:
						t.Errorf("%s: %v", filepath.Base(file), err)
						continue
					}
					if dryRun {
						kind += " (by dry run)"
					}
					created[kind]++
					pods += createItsPod(t, filepath.Base(folder), stored)
				}
			}
		})
	}
	if sets < 15 || pods < 15 {
		t.Errorf("only %d sets with %d pods", sets, pods)
	}
	if !maps.Equal(missing, leftOut) {
		t.Errorf("left out %v, want %v", missing, leftOut)
	}
	t.Logf("%d sets, %d pods of their workloads", sets, pods)
	for _, kind := range slices.Sorted(maps.Keys(created)) {
		t.Logf("created %3d  %s", created[kind], kind)
	}
	for kind, n := range missing {
		t.Logf("LEFT OUT %2d  %s: this server has no such kind", n, kind)
	}
}

// createRendered creates an object and returns it as stored. What belongs to the whole cluster
// is created by dry run, since policies would judge the pods of other sets.
func createRendered(t *testing.T, namespace string, object *unstructured.Unstructured) (stored *unstructured.Unstructured, dryRun bool, err error) {
	_, namespaced, err := api.resources(object.GroupVersionKind(), namespace)
	if err != nil {
		return nil, false, err
	}
	stored, err = api.create(t.Context(), namespace, object, !namespaced)
	return stored, !namespaced, err
}

// createItsPod creates the pod of a workload, and returns how many these are.
func createItsPod(t *testing.T, namespace string, workload *unstructured.Unstructured) int {
	pod, err := template(workload)
	if err != nil {
		t.Error(err)
	}
	if err != nil || pod == nil {
		return 0
	}
	if _, err := api.createPod(t.Context(), namespace, pod, false); err != nil {
		t.Errorf("pod of %s %s: %v", workload.GetKind(), workload.GetName(), err)
	}
	return 1
}

// TestStrictRefusesFaults makes one fault at a time in what is accepted otherwise, so that the
// acceptance of all manifests says something.
func TestStrictRefusesFaults(t *testing.T) {
	namespace(t, "faults", "restricted", nil)
	example := filepath.Join(rendered, "example", "demo.yaml")
	monitoring := filepath.Join(rendered, "monitoring", "demo.yaml")
	for name, fault := range map[string]struct {
		file, kind string
		path       []string
		value      any
		says       string
	}{
		"unknown field":               {example, "Deployment", []string{"spec", "template", "spec", "imagePulPolicy"}, "Always", `unknown field "spec.template.spec.imagePulPolicy"`},
		"wrong type":                  {example, "Deployment", []string{"spec", "template", "spec", "terminationGracePeriodSeconds"}, "soon", "terminationGracePeriodSeconds"},
		"invalid name":                {example, "ConfigMap", []string{"metadata", "name"}, "Demo_settings", "RFC 1123"},
		"value out of range":          {example, "Deployment", []string{"spec", "replicas"}, int64(-1), "greater than or equal to 0"},
		"unknown field of a monitor":  {monitoring, "PodMonitor", []string{"spec", "podMetricsEndpoint"}, []any{}, `unknown field "spec.podMetricsEndpoint"`},
		"wrong type in a rule":        {monitoring, "PrometheusRule", []string{"spec", "groups"}, "all", "spec.groups"},
		"unknown field of the policy": {monitoring, "NetworkPolicy", []string{"spec", "ingres"}, []any{}, `unknown field "spec.ingres"`},
	} {
		t.Run(name, func(t *testing.T) {
			all := objects(t, fault.file)
			i := slices.IndexFunc(all, func(o *unstructured.Unstructured) bool { return o.GetKind() == fault.kind })
			if i < 0 {
				t.Fatalf("no %s", fault.kind)
			}
			if _, err := api.create(t.Context(), "faults", all[i], true); err != nil {
				t.Fatalf("without the fault: %v", err)
			}
			if err := unstructured.SetNestedField(all[i].Object, fault.value, fault.path...); err != nil {
				t.Fatal(err)
			}
			_, err := api.create(t.Context(), "faults", all[i], true)
			if err == nil || !strings.Contains(err.Error(), fault.says) {
				t.Errorf("%v, want %s", err, fault.says)
			}
		})
	}
	t.Run("pod that is not restricted", func(t *testing.T) {
		pod := podtable.App("")
		pod.Spec.HostNetwork = true
		if _, err := api.createPod(t.Context(), "faults", pod, true); err == nil || !strings.Contains(fmt.Sprint(err), "PodSecurity") {
			t.Error(err)
		}
	})
}
