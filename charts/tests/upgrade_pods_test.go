package tests

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// podsByName are the pod templates of workloads, by their names.
func podsByName(t *testing.T, objects map[string]*unstructured.Unstructured) map[string]core.PodTemplateSpec {
	t.Helper()
	all := map[string]core.PodTemplateSpec{}
	for name, o := range objects {
		for _, path := range [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}} {
			if content, found, _ := unstructured.NestedMap(o.Object, path...); found {
				var pod core.PodTemplateSpec
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &pod); err != nil {
					t.Fatal(err)
				}
				all[name] = pod
			}
		}
	}
	if len(all) == 0 {
		t.Error("no pods")
	}
	return all
}

// checkSelected holds that what selects pods, then and now, finds the same workloads' pods among those of now.
func checkSelected(t *testing.T, before, after map[string]*unstructured.Unstructured) {
	t.Helper()
	count := func(objects, pods map[string]*unstructured.Unstructured) (found []string) {
		for _, name := range slices.Sorted(maps.Keys(objects)) {
			o := objects[name]
			for _, field := range []string{"selector", "podSelector"} {
				content, ok, _ := unstructured.NestedMap(o.Object, "spec", field)
				if !ok {
					continue
				}
				if o.GetKind() == "Service" {
					content = map[string]any{"matchLabels": content}
				}
				var of meta.LabelSelector
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, &of); err != nil {
					t.Fatal(err)
				}
				selector, err := meta.LabelSelectorAsSelector(&of)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, pod := range podsByName(t, pods) {
					if selector.Matches(labels.Set(pod.Labels)) {
						n++
					}
				}
				found = append(found, fmt.Sprintf("%s: %d", o.GetKind(), n))
			}
		}
		return found
	}
	were, are, crossed := count(before, before), count(after, after), count(before, after)
	if len(were) == 0 || !slices.Equal(were, are) || !slices.Equal(were, crossed) {
		t.Errorf("pods selected were %v, are %v, and old selectors find %v of the new", were, are, crossed)
	}
}

// checkPods holds that labels, ports and mounts of pods are there still, and that pods are replaced only where that is expected.
func checkPods(t *testing.T, u upgrade, before, after map[string]core.PodTemplateSpec) {
	t.Helper()
	for name, old := range before {
		now, ok := after[name]
		if !ok {
			if u.moves == "" {
				t.Errorf("%s is gone", name)
			}
			continue
		}
		for key, value := range old.Labels {
			if now.Labels[key] != value {
				t.Errorf("%s: the label %s is %q, and was %q", name, key, now.Labels[key], value)
			}
		}
		had, has := points(old), points(now)
		for _, p := range had {
			if !slices.Contains(has, p) {
				t.Errorf("%s has no longer a %s", name, p)
			}
		}
		if changed := !reflect.DeepEqual(old, now); changed != u.restarts {
			t.Errorf("%s: pods are replaced: %v, want %v", name, changed, u.restarts)
		}
	}
}

// points are what others hold on to in a pod: containers, the names of their ports, and where volumes are.
func points(pod core.PodTemplateSpec) (all []string) {
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		all = append(all, "container "+c.Name)
		for _, p := range c.Ports {
			all = append(all, fmt.Sprintf("port %s %d/%s in %s", p.Name, p.ContainerPort, p.Protocol, c.Name))
		}
		for _, m := range c.VolumeMounts {
			all = append(all, "mount "+m.MountPath+" in "+c.Name)
		}
	}
	return all
}
