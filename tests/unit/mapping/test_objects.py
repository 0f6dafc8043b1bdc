"""Bodies: each field that a shard interprets is mapped, and everything comes back as it was."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.objects import LAST_APPLIED, map_object
from proxy.mapping.stream import strip_bytes
from tests.unit.mapping.support import TOKEN, P, context

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ASK = "/apis/authorization.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CORE = "/api/v1/namespaces/default"


def mapped(path: str, body: dict[str, Any], method: str = "POST") -> Any:
    return map_object(copy.deepcopy(body), context(method, path))


def refusal(path: str, body: dict[str, Any], method: str = "POST") -> StatusError:
    with pytest.raises(StatusError) as caught:
        mapped(path, body, method)
    return caught.value


CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("namespaced object", f"{CORE}/configmaps",
     {"metadata": {"name": "default", "namespace": "default"}, "data": {"namespace": "default"}},
     {"metadata": {"name": "default", "namespace": f"{P}default"}, "data": {"namespace": "default"}}),
    ("namespace", "/api/v1/namespaces",
     {"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a", "x": "y"}}},
     {"metadata": {"name": f"{P}a", "labels": {"kubernetes.io/metadata.name": f"{P}a", "x": "y"}}}),
    ("that label elsewhere is the user's own", f"{CORE}/configmaps",
     {"metadata": {"labels": {"kubernetes.io/metadata.name": "a"}}},
     {"metadata": {"labels": {"kubernetes.io/metadata.name": "a"}}}),
    ("generated name", "/apis/example.com/v1/planets",
     {"apiVersion": "example.com/v1", "metadata": {"generateName": "p-"}},
     {"apiVersion": f"{P}example.com/v1", "metadata": {"generateName": f"{P}p-"}}),
    ("generated name in a namespace", f"{CORE}/configmaps",
     {"metadata": {"generateName": "p-"}}, {"metadata": {"generateName": "p-"}}),
    ("owners", f"{CORE}/configmaps",
     {"metadata": {"ownerReferences": [
         {"apiVersion": "v1", "kind": "Namespace", "name": "a", "uid": "1"},
         {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "2"},
         {"apiVersion": "example.com/v1", "kind": "Planet", "name": "a", "uid": "3"},
         {"apiVersion": "example.com/v1", "kind": "Widget", "name": "a", "uid": "4"},
         {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "name": "widgets.example.com"},
         {"uid": "5", "$patch": "delete"}]}},
     {"metadata": {"ownerReferences": [
         {"apiVersion": "v1", "kind": "Namespace", "name": f"{P}a", "uid": "1"},
         {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "2"},
         {"apiVersion": f"{P}example.com/v1", "kind": "Planet", "name": f"{P}a", "uid": "3"},
         {"apiVersion": f"{P}example.com/v1", "kind": "Widget", "name": "a", "uid": "4"},
         {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
          "name": f"widgets.{P}example.com"},
         {"uid": "5", "$patch": "delete"}]}}),
    ("managed fields", f"{CORE}/configmaps",
     {"metadata": {"managedFields": [{"apiVersion": "example.com/v1"}, {"apiVersion": "apps/v1"}, {}]}},
     {"metadata": {"managedFields": [{"apiVersion": f"{P}example.com/v1"}, {"apiVersion": "apps/v1"}, {}]}}),
    ("custom resource definition", CRDS,
     {"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "names": {"plural": "widgets"}}},
     {"metadata": {"name": f"widgets.{P}example.com"},
      "spec": {"group": f"{P}example.com", "names": {"plural": "widgets"}}}),
    ("rules", f"{RBAC}/namespaces/default/roles",
     {"metadata": {"name": "r", "namespace": "default"}, "rules": [
         {"verbs": ["get"], "apiGroups": ["", "apps", "example.com", "*"], "resources": ["pods"]},
         {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces/status"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["planets"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["widgets"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
          "resourceNames": ["widgets.example.com"]},
         {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
          "resourceNames": ["admin", "mine"]},
         {"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]},
     {"metadata": {"name": "r", "namespace": f"{P}default"}, "rules": [
         {"verbs": ["get"], "apiGroups": ["", "apps", f"{P}example.com", "*"], "resources": ["pods"]},
         {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces/status"], "resourceNames": [f"{P}a"]},
         {"verbs": ["get"], "apiGroups": [f"{P}example.com"], "resources": ["planets"], "resourceNames": [f"{P}a"]},
         {"verbs": ["get"], "apiGroups": [f"{P}example.com"], "resources": ["widgets"], "resourceNames": ["a"]},
         {"verbs": ["get"], "apiGroups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"],
          "resourceNames": [f"widgets.{P}example.com"]},
         {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
          "resourceNames": [f"{P}admin", f"{P}mine"]},
         {"verbs": ["get"], "nonResourceURLs": ["/healthz"]}]}),
    ("labels that feed the shard's roles", f"{RBAC}/clusterroles",
     {"metadata": {"name": "r", "labels": {"rbac.authorization.k8s.io/aggregate-to-admin": "true", "a": "b"}}},
     {"metadata": {"name": f"{P}r", "labels": {f"{P}rbac.authorization.k8s.io/aggregate-to-admin": "true", "a": "b"}}}),
    ("binding", f"{RBAC}/clusterrolebindings",
     {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "mine"}, "subjects": [
         {"kind": "User", "name": "alice"}, {"kind": "User", "name": "system:serviceaccount:ns:sa"},
         {"kind": "Group", "name": "system:authenticated"},
         {"kind": "ServiceAccount", "name": "sa", "namespace": "ns"}]},
     {"metadata": {"name": f"{P}b"}, "roleRef": {"kind": "ClusterRole", "name": f"{P}mine"}, "subjects": [
         {"kind": "User", "name": f"{P}alice"}, {"kind": "User", "name": f"system:serviceaccount:{P}ns:sa"},
         {"kind": "Group", "name": f"{P}system:authenticated"},
         {"kind": "ServiceAccount", "name": "sa", "namespace": f"{P}ns"}]}),
    ("binding of kinds that the shard will refuse", f"{RBAC}/namespaces/default/rolebindings",
     {"roleRef": {"kind": "Other", "name": "x"}, "subjects": [{"kind": "user", "name": "alice"}]},
     {"roleRef": {"kind": "Other", "name": f"{P}x"}, "subjects": [{"kind": "user", "name": f"{P}alice"}]}),
    ("binding to a default role", f"{RBAC}/namespaces/default/rolebindings",
     {"roleRef": {"kind": "ClusterRole", "name": "edit"}, "subjects": None},
     {"roleRef": {"kind": "ClusterRole", "name": f"{P}edit"}, "subjects": None}),
    ("binding to a role of that name", f"{RBAC}/namespaces/default/rolebindings",
     {"roleRef": {"kind": "Role", "name": "mine"}}, {"roleRef": {"kind": "Role", "name": "mine"}}),
    ("access review", f"{ASK}/subjectaccessreviews",
     {"spec": {"user": "alice", "groups": ["dev"],
               "resourceAttributes": {"namespace": "a", "group": "example.com", "resource": "planets", "name": "p"}}},
     {"spec": {"user": f"{P}alice", "groups": [f"{P}dev"], "resourceAttributes":
               {"namespace": f"{P}a", "group": f"{P}example.com", "resource": "planets", "name": f"{P}p"}}}),
    ("own access, of a namespaced object", f"{ASK}/selfsubjectaccessreviews",
     {"spec": {"resourceAttributes": {"namespace": "a", "group": "*", "resource": "pods", "name": "p"}}},
     {"spec": {"resourceAttributes": {"namespace": f"{P}a", "group": "*", "resource": "pods", "name": "p"}}}),
    ("own access, of a CRD", f"{ASK}/selfsubjectaccessreviews",
     {"spec": {"resourceAttributes":
               {"group": "apiextensions.k8s.io", "resource": "customresourcedefinitions", "name": "widgets.a.b"}}},
     {"spec": {"resourceAttributes":
               {"group": "apiextensions.k8s.io", "resource": "customresourcedefinitions",
                "name": f"widgets.{P}a.b"}}}),
    ("own rules", f"{ASK}/selfsubjectrulesreviews", {"spec": {"namespace": "a"}}, {"spec": {"namespace": f"{P}a"}}),
    ("token", f"{CORE}/serviceaccounts/sa/token",
     {"spec": {"audiences": ["a", "b"]}}, {"spec": {"audiences": [f"{P}a", f"{P}b"]}}),
    ("token review", "/apis/authentication.k8s.io/v1/tokenreviews",
     {"spec": {"token": "t", "audiences": ["a"]}}, {"spec": {"token": "t", "audiences": [f"{P}a"]}}),
    ("event", f"{CORE}/events",
     {"involvedObject": {"namespace": "default", "name": "p"}, "related": {"name": "x"}},
     {"involvedObject": {"namespace": f"{P}default", "name": "p"}, "related": {"name": "x"}}),
    ("new event", "/apis/events.k8s.io/v1/namespaces/default/events",
     {"regarding": {"namespace": "default"}}, {"regarding": {"namespace": f"{P}default"}}),
    ("quota", f"{CORE}/resourcequotas",
     {"spec": {"hard": {"pods": "1", "count/widgets.example.com": "2", "count/deployments.apps": "3",
                        "count/pods": "4", "requests.example.com/gpu": "5"}}, "status": {"used": None}},
     {"spec": {"hard": {"pods": "1", f"count/widgets.{P}example.com": "2", "count/deployments.apps": "3",
                        "count/pods": "4", "requests.example.com/gpu": "5"}}, "status": {"used": None}}),
    ("scale", "/apis/apps/v1/namespaces/default/deployments/d/scale",
     {"apiVersion": "autoscaling/v1", "metadata": {"name": "d", "namespace": "default"}, "spec": {"replicas": 1}},
     {"apiVersion": "autoscaling/v1", "metadata": {"name": "d", "namespace": f"{P}default"}, "spec": {"replicas": 1}}),
    ("eviction", f"{CORE}/pods/p/eviction",
     {"metadata": {"name": "p", "namespace": "default"}}, {"metadata": {"name": "p", "namespace": f"{P}default"}}),
    ("no metadata", f"{CORE}/configmaps", {"metadata": None, "data": None}, {"metadata": None, "data": None}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "plain", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_is_mapped_comes_back(path: str, plain: dict[str, Any], wanted: dict[str, Any]) -> None:
    there = mapped(path, plain)
    assert there == wanted
    assert orjson.loads(strip_bytes(orjson.dumps(there), TOKEN)) == plain


@pytest.mark.parametrize("spec", [{}, None, {"audiences": None}, {"audiences": []}])
@pytest.mark.parametrize("path", [f"{CORE}/serviceaccounts/sa/token", "/apis/authentication.k8s.io/v1/tokenreviews"])
def test_a_token_without_an_audience_never_gets_the_shards(path: str, spec: Any) -> None:
    assert mapped(path, {"spec": spec})["spec"]["audiences"] == [f"{P}https://kubernetes.default.svc"]
    assert mapped(path, {})["spec"]["audiences"] == [f"{P}https://kubernetes.default.svc"]


def test_events_about_cluster_scoped_things_stand_in_their_own_namespace() -> None:
    assert (
        mapped(f"{CORE}/events", {"involvedObject": {"kind": "Node"}})["involvedObject"]["namespace"] == f"{P}default"
    )
    assert mapped(f"{CORE}/events/e", {"involvedObject": {"kind": "Node"}}, "PATCH") == {
        "involvedObject": {"kind": "Node"}
    }


@pytest.mark.parametrize(
    ("groups", "resources"), [(["*"], ["configmaps"]), ([""], ["*"]), ([""], ["*/status"]), ([""],
     ["configmaps", "namespaces"]), ([], [])]
)  # fmt: skip
def test_rules_for_both_scopes_name_both_forms(groups: list[str], resources: list[str]) -> None:
    rule = {"verbs": ["get"], "apiGroups": groups, "resources": resources, "resourceNames": ["a"]}
    assert mapped(f"{RBAC}/clusterroles", {"rules": [rule]})["rules"][0]["resourceNames"] == ["a", f"{P}a"]


def test_aggregation_collects_from_this_workspace_only() -> None:
    role = {
        "aggregationRule": {
            "clusterRoleSelectors": [
                {"matchLabels": {"a": "b"}},
                {},
                {"matchExpressions": [{"key": "rbac.authorization.k8s.io/aggregate-to-view", "operator": "Exists"}]},
            ]
        }
    }
    there = mapped(f"{RBAC}/clusterroles", role)
    for selector in there["aggregationRule"]["clusterRoleSelectors"]:
        assert selector["matchLabels"]["0.kcp.dev/w"] == TOKEN
    assert there["aggregationRule"]["clusterRoleSelectors"][2]["matchExpressions"][0]["key"].startswith(P)
    back = orjson.loads(strip_bytes(orjson.dumps(there), TOKEN))["aggregationRule"]["clusterRoleSelectors"]
    assert back[0] == {"matchLabels": {"a": "b"}}
    assert back[1] == {"matchLabels": {}}


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("/api/v1/namespaces", {"metadata": {"name": "n" * 54}}, 422),
    (f"{RBAC}/clusterroles", {"metadata": {"name": "n" * 244}}, 422),
    (CRDS, {"metadata": {"name": "widgets.apps"}, "spec": {"group": "apps"}}, 403),
    (CRDS, {"metadata": {"name": "widgets.tenancy.kcp.dev"}}, 403),
    (CRDS, {"spec": {"group": "workload.kcp.dev"}}, 403),
    (CRDS, {"spec": {"group": "a.b", "conversion": {"strategy": "Webhook"}}}, 422),
    (CRDS, {"spec": {"group": "a.b", "conversion": {"webhook": {"clientConfig": {}}}}}, 422),
    (f"{CORE}/configmaps", {"metadata": {"labels": {"0.kcp.dev/w": "kotheroth"}}}, 422),
    (f"{RBAC}/clusterroles",
     {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"0.kcp.dev/w": "k"}}]}}, 422),
    ("/api/v1/namespaces", {"metadata": {"name": "-a"}}, 422),
    ("/apis/example.com/v1/planets", {"metadata": {"name": ".a"}}, 422),
]  # fmt: skip

INCOMPLETE: list[tuple[str, dict[str, Any]]] = [
    (f"{RBAC}/clusterrolebindings", {"subjects": [{"name": "alice"}]}),
    (f"{RBAC}/clusterrolebindings", {"roleRef": {"name": "x"}}),
    (f"{CORE}/configmaps", {"metadata": {"ownerReferences": [{"name": "x"}]}}),
]


@pytest.mark.parametrize(("path", "body"), INCOMPLETE)
def test_a_name_without_its_kind(path: str, body: dict[str, Any]) -> None:
    """A whole object the shard refuses; in a patch the kind may stand elsewhere, and decides how the name is mapped."""
    assert mapped(path, copy.deepcopy(body)) == body
    assert refusal(f"{path}/x", body, "PATCH").code == 422


@pytest.mark.parametrize(("path", "body", "code"), REFUSED)
def test_what_cannot_be_mapped_is_refused_with_its_name(path: str, body: dict[str, Any], code: int) -> None:
    error = refusal(path, body)
    assert error.code == code
    assert error.message


# What is of a type that the shard cannot read goes on as it is, for the shard to say so.
ODD: list[tuple[str, dict[str, Any]]] = [
    (f"{CORE}/configmaps", {"metadata": [{"namespace": "x"}]}),
    (f"{CORE}/configmaps", {"metadata": {"namespace": 1}}),
    ("/api/v1/namespaces", {"metadata": {"name": ["a"]}}),
    (f"{CORE}/configmaps", {"metadata": {"ownerReferences": {"0": {}}}}),
    (f"{CORE}/configmaps", {"metadata": {"labels": ["0.kcp.dev/w"]}}),
    (f"{RBAC}/clusterrolebindings", {"subjects": {"-1": {"kind": "User", "name": "x"}}}),
    (f"{RBAC}/clusterrolebindings", {"subjects": ["x"]}),
    (f"{RBAC}/clusterrolebindings", {"subjects": [{"kind": "User", "name": ["x"]}]}),
    (f"{RBAC}/clusterrolebindings", {"roleRef": "x"}),
    (f"{RBAC}/clusterroles", {"rules": {"0": {}}}),
    (f"{RBAC}/clusterroles", {"rules": [{"apiGroups": "x"}]}),
    (f"{RBAC}/clusterroles", {"rules": [{"apiGroups": [1]}]}),
    (f"{RBAC}/clusterroles", {"rules": [{"resourceNames": {"a": "b"}}]}),
    (f"{ASK}/subjectaccessreviews", {"spec": {"user": {"a": 1}}}),
    (f"{ASK}/subjectaccessreviews", {"spec": {"groups": "x"}}),
    (f"{CORE}/serviceaccounts/sa/token", {"spec": {"audiences": "x"}}),
    (f"{CORE}/serviceaccounts/sa/token", {"spec": []}),
    (f"{CORE}/events", {"involvedObject": [1]}),
    (f"{CORE}/resourcequotas", {"spec": {"hard": ["count/x.y"]}}),
    (CRDS, {"spec": {"group": ["a.b"]}}),
    (CRDS, {"spec": "x"}),
    ("/apis/example.com/v1/planets", {"apiVersion": 1}),
]


@pytest.mark.parametrize(("path", "body"), ODD)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_fields_of_the_wrong_type(method: str, path: str, body: dict[str, Any]) -> None:
    if method == "PATCH" and path.endswith("/token"):
        return
    assert mapped(path if method == "POST" else f"{path}/x", copy.deepcopy(body), method) == body


def test_null_in_a_list_of_texts_is_an_empty_one() -> None:
    assert mapped(f"{RBAC}/clusterroles", {"rules": [None, {"apiGroups": [None]}]})["rules"][1]["apiGroups"] == [""]
    review = {"spec": {"audiences": [None]}}
    assert mapped(f"{CORE}/serviceaccounts/sa/token", review)["spec"]["audiences"] == [P]


names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,15}[a-z0-9])?", fullmatch=True)
versions = st.sampled_from(["v1", "apps/v1", "example.com/v1", "rbac.authorization.k8s.io/v1", "x.io/v2"])
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": names,
        "generateName": names,
        "labels": st.dictionaries(names, names, max_size=3),
        "ownerReferences": st.lists(
            st.fixed_dictionaries(
                {
                    "apiVersion": versions,
                    "kind": st.sampled_from(["Widget", "Planet", "Namespace", "ClusterRole", "Pod"]),
                    "name": names,
                }
            ),
            max_size=3,
        ),
        "managedFields": st.lists(st.fixed_dictionaries({"apiVersion": versions}), max_size=2),
    },
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(metadata, json_values, st.sampled_from(["/apis/example.com/v1/planets", "/api/v1/namespaces", f"{CORE}/pods"]))
def test_any_object_comes_back(meta: dict[str, Any], spec: Any, path: str) -> None:
    body = {"apiVersion": "example.com/v1" if "example" in path else "v1", "metadata": meta, "spec": spec}
    if path.startswith(CORE):
        body["metadata"] = {**meta, "namespace": "default"}
    there = mapped(path, body)
    assert orjson.loads(strip_bytes(orjson.dumps(there), TOKEN)) == body
    for key in ("name", "generateName"):
        if key in meta:
            assert there["metadata"][key].startswith(P) != path.startswith(CORE)


def applied(path: str, value: str) -> str:
    body = {"metadata": {"annotations": {LAST_APPLIED: value}}}
    found: str = mapped(path, body)["metadata"]["annotations"][LAST_APPLIED]
    return found


def test_what_kubectl_applied_last_is_kept_as_the_shard_itself_would_write_it() -> None:
    text = '{"apiVersion":"example.com/v1","kind":"Planet","metadata":{"annotations":{},"name":"a\\u003cb"},"x":1}\n'
    assert applied("/apis/example.com/v1/planets", text) == text.replace('"example.com', f'"{P}example.com').replace(
        '"a\\u003cb', f'"{P}a\\u003cb'
    )
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"default"}}\n'
    assert applied(f"{CORE}/configmaps", text) == text.replace('"default"', f'"{P}default"')


@pytest.mark.parametrize(
    "text",
    [
        *("", "no JSON", "[]\n", '{"metadata":{"namespace":"default"}}', '{"metadata": {"namespace":"default"}}\n'),
        *('{"metadata":{"name":"<","namespace":"default"}}\n', '{"metadata":{"namespace":5}}\n'),
        '{"metadata":{"namespace":"default"},"spec":1e21}\n',
    ],
)
def test_what_kubectl_did_not_write_stays(text: str) -> None:
    assert applied(f"{CORE}/configmaps", text) == text


@pytest.mark.parametrize(
    ("path", "name", "why"),
    [
        (f"{RBAC}/clusterroles", ".", "ClusterRole.rbac.authorization.k8s.io \".\" is invalid: metadata.name: "
         "Invalid value: \".\": may not be '.'"),
        (f"{RBAC}/clusterrolebindings", "..", "ClusterRoleBinding.rbac.authorization.k8s.io \"..\" is invalid: "
         "metadata.name: Invalid value: \"..\": may not be '..'"),
        ("/api/v1/namespaces", "-a", "Namespace \"-a\" is invalid: [metadata.name: "),
    ],
)  # fmt: skip
def test_names_that_would_be_legal_behind_the_prefix(path: str, name: str, why: str) -> None:
    with pytest.raises(StatusError) as caught:
        map_object({"metadata": {"name": name}}, context("POST", path))
    assert caught.value.code == 422
    assert caught.value.message.startswith(why)


@pytest.mark.parametrize("name", [".a", "-", "...", "a."])
def test_names_of_roles_are_almost_free(name: str) -> None:
    mapped = map_object({"metadata": {"name": name}}, context("POST", f"{RBAC}/clusterroles"))
    assert mapped["metadata"]["name"] == P + name
