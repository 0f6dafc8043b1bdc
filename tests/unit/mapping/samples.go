// Writes samples.json: the same objects as JSON and as the protobuf of k8s.io/apimachinery v0.36.3.
// Run it in a module that requires k8s.io/api and k8s.io/apiextensions-apiserver: go run samples.go > samples.json

package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	apps "k8s.io/api/apps/v1"
	authn "k8s.io/api/authentication/v1"
	authz "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
	rbac "k8s.io/api/rbac/v1"
	apiext "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

func main() {
	s := runtime.NewScheme()
	for _, f := range []func(*runtime.Scheme) error{authn.AddToScheme, authz.AddToScheme, core.AddToScheme, events.AddToScheme, apps.AddToScheme, rbac.AddToScheme, apiext.AddToScheme} {
		if err := f(s); err != nil {
			panic(err)
		}
	}
	enc := protobuf.NewSerializer(s, s)
	yes := true
	m := func(ns bool) meta.ObjectMeta {
		o := meta.ObjectMeta{Name: "thing", UID: "6f3b", Labels: map[string]string{"app": "x", "z": ""}, Annotations: map[string]string{"note": "n"}, Finalizers: []string{"example.com/f"},
			OwnerReferences: []meta.OwnerReference{{APIVersion: "example.com/v1", Kind: "Widget", Name: "w", UID: "u1", Controller: &yes}, {APIVersion: "v1", Kind: "Namespace", Name: "default", UID: "u2"}},
			ManagedFields:   []meta.ManagedFieldsEntry{{Manager: "m", Operation: "Update", APIVersion: "example.com/v1", FieldsType: "FieldsV1", FieldsV1: &meta.FieldsV1{Raw: []byte(`{"f:data":{}}`)}}}}
		if ns {
			o.Namespace = "default"
		}
		return o
	}
	rules := []rbac.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{"", "example.com", "*"}, Resources: []string{"configmaps"}, ResourceNames: []string{"a"}},
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{"default"}},
		{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}}
	subjects := []rbac.Subject{{Kind: "User", APIGroup: "rbac.authorization.k8s.io", Name: "alice"}, {Kind: "Group", APIGroup: "rbac.authorization.k8s.io", Name: "system:authenticated"}, {Kind: "ServiceAccount", Name: "sa", Namespace: "default"}}
	q := resource.MustParse("3")
	replicas := int32(3)
	exp := int64(600)
	attrs := &authz.ResourceAttributes{Namespace: "default", Verb: "get", Group: "example.com", Resource: "widgets", Name: "w"}
	ref := core.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p", APIVersion: "v1"}
	type c struct {
		path string
		o    runtime.Object
	}
	cases := []c{
		{"/api/v1/namespaces/default/configmaps", &core.ConfigMap{ObjectMeta: m(true), Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"b": {0, 255}}}},
		{"/api/v1/namespaces", &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "team", Labels: map[string]string{"kubernetes.io/metadata.name": "team"}}}},
		{"/api/v1/namespaces/default/secrets", &core.Secret{ObjectMeta: m(true), Type: "Opaque", Data: map[string][]byte{"k": {1, 2, 255}}}},
		{"/api/v1/namespaces/default/events", &core.Event{ObjectMeta: m(true), InvolvedObject: ref, Reason: "r", Related: &ref}},
		{"/apis/events.k8s.io/v1/namespaces/default/events", &events.Event{ObjectMeta: m(true), Regarding: ref, Reason: "r"}},
		{"/api/v1/namespaces/default/resourcequotas", &core.ResourceQuota{ObjectMeta: m(true), Spec: core.ResourceQuotaSpec{Hard: core.ResourceList{"pods": q, "count/widgets.example.com": q, "count/deployments.apps": q}}, Status: core.ResourceQuotaStatus{Used: core.ResourceList{"count/widgets.example.com": q}}}},
		{"/apis/apps/v1/namespaces/default/deployments", &apps.Deployment{ObjectMeta: m(true), Spec: apps.DeploymentSpec{Replicas: &replicas, Template: core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{{Name: "c", Image: "i"}}}}}}},
		{"/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", &rbac.Role{ObjectMeta: m(true), Rules: rules}},
		{"/apis/rbac.authorization.k8s.io/v1/clusterroles", &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{GenerateName: "thing-", Labels: map[string]string{"rbac.authorization.k8s.io/aggregate-to-admin": "true"}}, Rules: rules, AggregationRule: &rbac.AggregationRule{ClusterRoleSelectors: []meta.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}, {MatchExpressions: []meta.LabelSelectorRequirement{{Key: "rbac.authorization.k8s.io/aggregate-to-view", Operator: "Exists"}}}}}}},
		{"/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &rbac.RoleBinding{ObjectMeta: m(true), Subjects: subjects, RoleRef: rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "Role", Name: "r"}}},
		{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &rbac.ClusterRoleBinding{ObjectMeta: m(false), Subjects: subjects, RoleRef: rbac.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "mine"}}},
		{"/apis/authorization.k8s.io/v1/subjectaccessreviews", &authz.SubjectAccessReview{Spec: authz.SubjectAccessReviewSpec{ResourceAttributes: attrs, User: "system:serviceaccount:default:sa", Groups: []string{"g"}, Extra: map[string]authz.ExtraValue{"x": {"y"}}}}},
		{"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &authz.SelfSubjectAccessReview{Spec: authz.SelfSubjectAccessReviewSpec{ResourceAttributes: attrs}}},
		{"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &authz.SelfSubjectRulesReview{Spec: authz.SelfSubjectRulesReviewSpec{Namespace: "default"}}},
		{"/apis/authentication.k8s.io/v1/tokenreviews", &authn.TokenReview{Spec: authn.TokenReviewSpec{Token: "t", Audiences: []string{"a"}}}},
		{"/api/v1/namespaces/default/serviceaccounts/sa/token", &authn.TokenRequest{Spec: authn.TokenRequestSpec{ExpirationSeconds: &exp}}},
		{"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &apiext.CustomResourceDefinition{ObjectMeta: meta.ObjectMeta{Name: "widgets.example.com"}, Spec: apiext.CustomResourceDefinitionSpec{Group: "example.com", Scope: "Cluster", Names: apiext.CustomResourceDefinitionNames{Plural: "widgets", Kind: "Widget"}, Conversion: &apiext.CustomResourceConversion{Strategy: "None"}, Versions: []apiext.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}}}}},
	}
	out := []map[string]any{}
	for _, x := range cases {
		gvks, _, err := s.ObjectKinds(x.o)
		if err != nil {
			panic(err)
		}
		x.o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind(gvks[0]))
		b, err := runtime.Encode(enc, x.o)
		if err != nil {
			panic(err)
		}
		j, err := json.Marshal(x.o)
		if err != nil {
			panic(err)
		}
		out = append(out, map[string]any{"path": x.path, "json": json.RawMessage(j), "protobuf": base64.StdEncoding.EncodeToString(b)})
	}
	j, _ := json.MarshalIndent(out, "", " ")
	os.Stdout.Write(j)
	fmt.Println()
}
