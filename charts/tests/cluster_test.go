package tests

import (
	"context"
	"slices"
	"testing"

	registration "k8s.io/api/admissionregistration/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
)

// cluster is as much of an API server as judges new pods by admission policies: the two
// plugins of the real one, which see the objects that the cluster was made with.
type cluster struct {
	mutating   admission.MutationInterface
	validating admission.ValidationInterface
}

// newCluster starts the plugins with namespaces and policies. They end with the test.
func newCluster(t *testing.T, objects ...runtime.Object) *cluster {
	t.Helper()
	objects = slices.DeleteFunc(slices.Clone(objects), func(o runtime.Object) bool {
		kind := o.GetObjectKind().GroupVersionKind()
		return kind.Group != registration.GroupName && kind.Kind != "Namespace"
	})
	for _, o := range objects {
		setDefaults(o)
	}
	client := schemaClient{fake.NewClientset(objects...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(core.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)
	start := initializer.New(client, dynamicfake.NewSimpleDynamicClient(scheme.Scheme), factory,
		authorizerfactory.NewAlwaysAllowAuthorizer(), feature.DefaultFeatureGate,
		compatibility.DefaultBuildEffectiveVersion(), t.Context().Done(), mapper)
	mutator, err := mutating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	validator, err := validating.NewPlugin(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, plugin := range []admission.Interface{mutator, validator} {
		start.Initialize(plugin)
		if err := plugin.(admission.InitializationValidator).ValidateInitialization(); err != nil {
			t.Fatal(err)
		}
	}
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	return &cluster{mutator, validator}
}

// setDefaults fills in what the API server does for policies.
func setDefaults(object runtime.Object) {
	var match *registration.MatchResources
	switch o := object.(type) {
	case *registration.MutatingAdmissionPolicy:
		match = o.Spec.MatchConstraints
	case *registration.ValidatingAdmissionPolicy:
		match = o.Spec.MatchConstraints
	default:
		return
	}
	equivalent, all := registration.Equivalent, registration.AllScopes
	match.MatchPolicy, match.ObjectSelector = &equivalent, &metav1.LabelSelector{}
	for i := range match.ResourceRules {
		match.ResourceRules[i].Scope = &all
	}
}

// create passes a pod through the policies, as the API server does between its own defaults and
// its own checks, and returns what would be stored.
func (c *cluster) create(pod *core.Pod) (*core.Pod, error) {
	pod = pod.DeepCopy()
	if pod.Spec.TerminationGracePeriodSeconds == nil {
		seconds := int64(core.DefaultTerminationGracePeriodSeconds)
		pod.Spec.TerminationGracePeriodSeconds = &seconds
	}
	attributes := admission.NewAttributesRecord(pod, nil, core.SchemeGroupVersion.WithKind("Pod"),
		pod.Namespace, pod.Name, core.SchemeGroupVersion.WithResource("pods"), "", admission.Create, nil, false, &user.DefaultInfo{})
	interfaces := admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	if err := c.mutating.Admit(context.Background(), attributes, interfaces); err != nil {
		return nil, err
	}
	return pod, c.validating.Validate(context.Background(), attributes, interfaces)
}

// schemaClient is a client whose discovery has the schemas of Kubernetes' types.
type schemaClient struct{ *fake.Clientset }

func (c schemaClient) Discovery() discovery.DiscoveryInterfaces {
	return schemaDiscovery{c.Clientset.Discovery()}
}

type schemaDiscovery struct{ discovery.DiscoveryInterfaces }

func (schemaDiscovery) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }
