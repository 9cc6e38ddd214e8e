package kube

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/mergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/kubernetes/scheme"
)

// earlier is the folder with what an earlier version of the chart rendered, see upgrade_test.go in charts/tests.
// TestRenderedForKube renders today's chart with the same values, into folders of these names.
const earlier = "../testdata/upgrade"

// ways are those in which Helm changes an object in place: version 3 patches it by what is different
// between both manifests, and version 4 applies the new one at the server.
var ways = map[string]func(t *testing.T, namespace string, old, now *unstructured.Unstructured) error{
	"three-way": patchThreeWay,
	"apply": func(t *testing.T, namespace string, _, now *unstructured.Unstructured) error {
		return apply(t, namespace, now)
	},
}

// TestUpgradeIsTaken installs what the earlier chart rendered and upgrades it in place, then goes back again. Nothing may
// be refused, nothing may be left behind, and the pods of both versions must be taken.
func TestUpgradeIsTaken(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(rendered, "upgrade-*", "now.yaml"))
	if len(files) < 4 {
		t.Fatalf("only %d releases", len(files))
	}
	for _, file := range files {
		release := strings.TrimPrefix(filepath.Base(filepath.Dir(file)), "upgrade-")
		for way, change := range ways {
			t.Run(release+"/"+way, func(t *testing.T) {
				space := "upgrade-" + release + "-" + way
				namespace(t, space, "restricted", nil)
				old, now := objects(t, filepath.Join(earlier, release+".yaml")), objects(t, file)
				for _, o := range old {
					if way == "apply" {
						must(t, apply(t, space, o))
					} else {
						_, err := api.create(t.Context(), space, o.DeepCopy(), false)
						must(t, err)
					}
				}
				createPods(t, space, old)
				move(t, space, change, old, now)
				createPods(t, space, now)
				move(t, space, change, now, old) // helm rollback
				createPods(t, space, old)
			})
		}
	}
}

// move does what Helm does: it changes or creates each object of the new manifest, then deletes what is not in it.
func move(t *testing.T, space string, change func(*testing.T, string, *unstructured.Unstructured, *unstructured.Unstructured) error, from, to []*unstructured.Unstructured) {
	t.Helper()
	same := func(a *unstructured.Unstructured) func(*unstructured.Unstructured) bool {
		return func(b *unstructured.Unstructured) bool {
			return a.GroupVersionKind() == b.GroupVersionKind() && a.GetName() == b.GetName()
		}
	}
	for _, o := range to {
		if i := slices.IndexFunc(from, same(o)); i >= 0 {
			must(t, change(t, space, from[i], o))
		} else {
			_, err := api.create(t.Context(), space, o.DeepCopy(), false)
			must(t, err)
		}
		checkArrived(t, space, o)
	}
	for _, o := range from {
		if !slices.ContainsFunc(to, same(o)) {
			resources, _, err := api.resources(o.GroupVersionKind(), space)
			must(t, err)
			must(t, resources.Delete(t.Context(), o.GetName(), meta.DeleteOptions{}))
			if _, err := resources.Get(t.Context(), o.GetName(), meta.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("%s %s is left behind: %v", o.GetKind(), o.GetName(), err)
			}
		}
	}
}

// patchThreeWay changes an object as Helm 3 does (createPatch of its package kube): by a strategic merge patch from
// the old manifest, the new one and the object as it is; a custom resource by a merge patch from both manifests.
func patchThreeWay(t *testing.T, namespace string, old, now *unstructured.Unstructured) error {
	resources, _, err := api.resources(now.GroupVersionKind(), namespace)
	must(t, err)
	current, err := resources.Get(t.Context(), now.GetName(), meta.GetOptions{})
	must(t, err)
	was, is, live := encode(t, old), encode(t, now), encode(t, current)
	kind, patch := types.MergePatchType, []byte(nil)
	if typed, unknown := scheme.Scheme.New(now.GroupVersionKind()); unknown == nil {
		fields, err := strategicpatch.NewPatchMetaFromStruct(typed)
		must(t, err)
		kind = types.StrategicMergePatchType
		patch, err = strategicpatch.CreateThreeWayMergePatch(was, is, live, fields, true)
		must(t, err)
	} else {
		patch, err = jsonmergepatch.CreateThreeWayJSONMergePatch(was, is, was, mergepatch.RequireKeyUnchanged("apiVersion"))
		must(t, err)
	}
	_, err = resources.Patch(t.Context(), now.GetName(), kind, patch, meta.PatchOptions{FieldValidation: meta.FieldValidationStrict})
	return err
}

// apply applies an object at the server; a field of somebody else's is a conflict.
func apply(t *testing.T, namespace string, object *unstructured.Unstructured) error {
	resources, _, err := api.resources(object.GroupVersionKind(), namespace)
	must(t, err)
	_, err = resources.Patch(t.Context(), object.GetName(), types.ApplyPatchType, encode(t, object),
		meta.PatchOptions{FieldManager: "helm", FieldValidation: meta.FieldValidationStrict})
	return err
}

// checkArrived holds that what the manifest says is what is stored, where it can be compared: data, specs of custom
// resources, selectors, and the variables of containers.
func checkArrived(t *testing.T, namespace string, object *unstructured.Unstructured) {
	t.Helper()
	resources, _, err := api.resources(object.GroupVersionKind(), namespace)
	must(t, err)
	stored, err := resources.Get(t.Context(), object.GetName(), meta.GetOptions{})
	must(t, err)
	paths := [][]string{{"data"}, {"spec", "selector"}, {"spec", "podSelector"}, {"spec", "template", "metadata"}}
	if object.GroupVersionKind().Group == "monitoring.coreos.com" {
		paths = append(paths, []string{"spec"})
	}
	for _, path := range paths {
		want, _, _ := unstructured.NestedFieldNoCopy(object.Object, path...)
		got, _, _ := unstructured.NestedFieldNoCopy(stored.Object, path...)
		if want != nil && string(marshal(t, want)) != string(marshal(t, got)) {
			t.Errorf("%s %s: %s is not as in the manifest", object.GetKind(), object.GetName(), strings.Join(path, "."))
		}
	}
	want, err := template(object)
	must(t, err)
	got, err := template(stored)
	must(t, err)
	if want != nil {
		for i, c := range want.Spec.InitContainers {
			if !reflect.DeepEqual(c.Env, got.Spec.InitContainers[i].Env) {
				t.Errorf("%s %s: variables of %s are not as in the manifest", object.GetKind(), object.GetName(), c.Name)
			}
		}
	}
}

func createPods(t *testing.T, namespace string, all []*unstructured.Unstructured) {
	t.Helper()
	pods := 0
	for _, o := range all {
		pods += createItsPod(t, namespace, o)
	}
	if pods == 0 {
		t.Error("no pods")
	}
}

func encode(t *testing.T, o *unstructured.Unstructured) []byte { return marshal(t, o.Object) }

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	must(t, err)
	return text
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestUpgradeOfASelectorIsRefused makes sure that the server would say so.
func TestUpgradeOfASelectorIsRefused(t *testing.T) {
	for way, change := range ways {
		t.Run(way, func(t *testing.T) {
			space := "upgrade-refused-" + way
			namespace(t, space, "restricted", nil)
			for _, o := range objects(t, filepath.Join(earlier, "trial.yaml")) {
				if o.GroupVersionKind() != (schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}) {
					continue
				}
				must(t, apply(t, space, o))
				now := o.DeepCopy()
				must(t, unstructured.SetNestedField(now.Object, "other", "spec", "selector", "matchLabels", "app.kubernetes.io/component"))
				must(t, unstructured.SetNestedField(now.Object, "other", "spec", "template", "metadata", "labels", "app.kubernetes.io/component"))
				if err := change(t, space, o, now); err == nil || !strings.Contains(err.Error(), "immutable") {
					t.Error(err)
				}
			}
		})
	}
}
