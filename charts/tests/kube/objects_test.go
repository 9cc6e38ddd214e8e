package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"
)

// patience bounds a wait for what the API server takes up by itself, which takes a second or two.
const patience = time.Minute

// eventually calls try until it returns nil.
func eventually(ctx context.Context, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// define creates the CRDs of the kinds that the chart can render, and waits until they are served.
func (s *server) define(ctx context.Context, dir string) error {
	for _, kind := range []string{"podmonitors", "prometheusrules", "servicemonitors"} {
		text, err := os.ReadFile(filepath.Join(dir, "monitoring.coreos.com_"+kind+".yaml"))
		if err != nil {
			return err
		}
		object, err := parse(string(text))
		if err != nil {
			return err
		}
		if _, err := s.create(ctx, "", object, false); err != nil {
			return err
		}
	}
	return eventually(ctx, func() error {
		s.mapper.Reset()
		for _, kind := range []string{"PodMonitor", "PrometheusRule", "ServiceMonitor"} {
			gvk := schema.GroupVersionKind{Group: "monitoring.coreos.com", Version: "v1", Kind: kind}
			resources, _, err := s.resources(gvk, "default")
			if err != nil {
				return err
			}
			if _, err := resources.List(ctx, meta.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// parse returns the object of one YAML document, or nil if that holds only comments.
func parse(text string) (*unstructured.Unstructured, error) {
	var content map[string]any
	// Strict, as the server would be with a key that stands there twice.
	if err := yaml.UnmarshalStrict([]byte(text), &content); err != nil || content == nil {
		return nil, err
	}
	// The way through JSON makes numbers what client-go takes.
	encoded, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	return object, object.UnmarshalJSON(encoded)
}

// objects are those of a file with manifests.
func objects(t *testing.T, path string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	for _, document := range strings.Split("\n"+string(text), "\n---\n") {
		object, err := parse(document)
		if err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if object != nil {
			all = append(all, object)
		}
	}
	return all
}

// resources are those of a kind, in the namespace if they have one.
func (s *server) resources(kind schema.GroupVersionKind, namespace string) (resources dynamic.ResourceInterface, namespaced bool, err error) {
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, false, err
	}
	if mapping.Scope.Name() == apimeta.RESTScopeNameNamespace {
		return s.dynamic.Resource(mapping.Resource).Namespace(namespace), true, nil
	}
	return s.dynamic.Resource(mapping.Resource), false, nil
}

// create creates an object with strict field validation and returns it as stored; on a dry run
// the server does all but store it.
func (s *server) create(ctx context.Context, namespace string, object *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error) {
	resources, _, err := s.resources(object.GroupVersionKind(), namespace)
	if err != nil {
		return nil, err
	}
	created, err := resources.Create(ctx, object, createOptions(dryRun))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
	}
	return created, nil
}

func createOptions(dryRun bool) meta.CreateOptions {
	options := meta.CreateOptions{FieldValidation: meta.FieldValidationStrict}
	if dryRun {
		options.DryRun = []string{meta.DryRunAll}
	}
	return options
}

// createPod creates a pod from a template, as the controllers do, with strict field validation.
func (s *server) createPod(ctx context.Context, namespace string, template *core.PodTemplateSpec, dryRun bool) (*core.Pod, error) {
	pod := &core.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Name, pod.GenerateName = "", "pod-"
	return s.client.CoreV1().Pods(namespace).Create(ctx, pod, createOptions(dryRun))
}

// namespace makes a namespace whose pods have to be of the given level of PodSecurity.
func namespace(t *testing.T, name, level string, labels map[string]string) {
	t.Helper()
	all := map[string]string{"pod-security.kubernetes.io/enforce": level}
	for key, value := range labels {
		all[key] = value
	}
	_, err := api.client.CoreV1().Namespaces().Create(t.Context(),
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: name, Labels: all}}, createOptions(false))
	if err != nil {
		t.Fatal(err)
	}
	// No controller runs that would make it, and without it no pod can be created.
	_, err = api.client.CoreV1().ServiceAccounts(name).Create(t.Context(),
		&core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: "default"}}, createOptions(false))
	if err != nil {
		t.Fatal(err)
	}
}

// template returns the pod template of a workload, or nil if the object is none.
func template(object *unstructured.Unstructured) (*core.PodTemplateSpec, error) {
	path := []string{"spec", "template"}
	switch object.GetKind() {
	case "Deployment", "StatefulSet", "DaemonSet", "Job":
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template"}
	default:
		return nil, nil
	}
	content, found, err := unstructured.NestedMap(object.Object, path...)
	if err != nil || !found {
		return nil, fmt.Errorf("%s %s has no template: %w", object.GetKind(), object.GetName(), err)
	}
	pod := &core.PodTemplateSpec{}
	return pod, runtime.DefaultUnstructuredConverter.FromUnstructured(content, pod)
}
