"""What becomes of objects on their way down, and of status on its way up."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, UID
from syncer.transform import (
    LAST_APPLIED,
    POD_SPECS,
    TOKEN_PATH,
    Object,
    Place,
    down,
    merge_patch,
    needs_token,
    skipped,
    status_above,
    without_refused,
)

PLACE = Place("kcpabc", "east", "https://kcp.example.com:6443/clusters/root:team-a")


def obj(**fields: Any) -> Object:
    meta = {"name": "x", "namespace": "words", "uid": "u1"} | fields.pop("metadata", {})
    return {"metadata": meta, **fields}


def deployment(**pod: Any) -> Object:
    pod = {"containers": [{"name": "c", "image": "i"}], **pod}
    return obj(spec={"replicas": 1, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}})


def pod_below(**pod: Any) -> Object:
    below: Object = down("apps", "deployments", deployment(**pod), PLACE)["spec"]["template"]["spec"]
    return below


def test_metadata() -> None:
    above = obj(
        metadata={
            "labels": {"app": "x", CLUSTER_LABEL: "west"},
            "annotations": {LAST_APPLIED: "{}", "note": "n"},
            "resourceVersion": "5",
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 30,
            "finalizers": ["f"],
            "ownerReferences": [{"name": "o"}],
            "managedFields": [{}],
            "generateName": "x-",
            "selfLink": "/x",
        },
        data={"a": "b"},
        status={"ready": True},
    )
    before = copy.deepcopy(above)
    assert down("", "configmaps", above, PLACE) == {
        "metadata": {
            "name": "x",
            "namespace": "kcpabc",
            "labels": {"app": "x", CLUSTER_LABEL: "east"},
            "annotations": {"note": "n", UID: "u1"},
        },
        "data": {"a": "b"},
    }
    assert above == before


def test_nothing_is_shared_with_the_original() -> None:
    above = deployment()
    before = copy.deepcopy(above)
    below = down("apps", "deployments", above, PLACE)
    below["spec"]["template"]["spec"]["containers"].append({})
    assert above == before


def test_renamed() -> None:
    assert down("", "configmaps", obj(metadata={"name": "kube-root-ca.crt"}), PLACE)["metadata"]["name"] == (
        "kcp-root-ca.crt"
    )
    account = down("", "serviceaccounts", obj(metadata={"name": "default"}, secrets=[{"name": "s"}]), PLACE)
    assert account["metadata"]["name"] == "kcp-default"
    assert "secrets" not in account


def test_pods_talk_to_their_workspace() -> None:
    pod = pod_below()
    assert pod["serviceAccountName"] == "kcp-default"
    assert pod["automountServiceAccountToken"] is False
    container = pod["containers"][0]
    assert container["env"] == [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "kcp.example.com"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
        {"name": "KUBERNETES_SERVICE_PORT_HTTPS", "value": "6443"},
    ]
    assert container["volumeMounts"] == [{"name": "kcp-api-access", "mountPath": TOKEN_PATH, "readOnly": True}]
    sources = pod["volumes"][0]["projected"]["sources"]
    assert sources[0]["secret"]["name"] == "kcp-default-token"
    assert sources[1]["configMap"]["name"] == "kcp-root-ca.crt"


def test_all_containers_of_a_pod() -> None:
    pod = pod_below(initContainers=[{"name": "i"}], containers=[{"name": "a"}, {"name": "b"}])
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert len(container["env"]) == 3
        assert len(container["volumeMounts"]) == 1


def test_what_a_container_says_itself_stays() -> None:
    own = {
        "name": "c",
        "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}, {"name": "A", "value": "1"}],
        "volumeMounts": [{"name": "mine", "mountPath": TOKEN_PATH}],
    }
    container = pod_below(containers=[own])["containers"][0]
    assert container["env"][:2] == own["env"]
    assert [item["name"] for item in container["env"]].count("KUBERNETES_SERVICE_HOST") == 1
    assert container["volumeMounts"] == own["volumeMounts"]


def test_an_account_of_its_own_is_kept_and_gets_no_token_of_the_cluster() -> None:
    pod = pod_below(serviceAccountName="builder")
    assert pod["serviceAccountName"] == "builder"
    assert pod["automountServiceAccountToken"] is False
    assert "volumes" not in pod


def test_a_pod_that_wants_no_token() -> None:
    pod = pod_below(automountServiceAccountToken=False, serviceAccount="default")
    assert pod["serviceAccountName"] == pod["serviceAccount"] == "kcp-default"
    assert "volumes" not in pod
    assert "env" not in pod["containers"][0]


def test_default_port_and_ipv6() -> None:
    place = Place("n", "c", "https://[2001:db8::1]/clusters/root")
    pod = down("apps", "deployments", deployment(), place)["spec"]["template"]["spec"]
    assert [item["value"] for item in pod["containers"][0]["env"]] == ["2001:db8::1", "443", "443"]


def test_references_to_what_is_renamed() -> None:
    root = "kube-root-ca.crt"
    pod = pod_below(
        volumes=[
            {"name": "a", "configMap": {"name": root}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": root}}, {"secret": {"name": root}}]}},
            {"name": "c", "emptyDir": {}},
        ],
        containers=[
            {
                "name": "c",
                "env": [{"name": "CA", "valueFrom": {"configMapKeyRef": {"name": root, "key": "ca.crt"}}}],
                "envFrom": [{"configMapRef": {"name": root}}, {"secretRef": {"name": root}}],
            }
        ],
    )
    assert pod["volumes"][0]["configMap"]["name"] == "kcp-root-ca.crt"
    assert pod["volumes"][1]["projected"]["sources"][0]["configMap"]["name"] == "kcp-root-ca.crt"
    assert pod["volumes"][1]["projected"]["sources"][1]["secret"]["name"] == root
    container = pod["containers"][0]
    assert container["env"][0]["valueFrom"]["configMapKeyRef"]["name"] == "kcp-root-ca.crt"
    assert container["envFrom"][0]["configMapRef"]["name"] == "kcp-root-ca.crt"
    assert container["envFrom"][1]["secretRef"]["name"] == root


@pytest.mark.parametrize(("group", "plural"), sorted(POD_SPECS))
def test_every_kind_with_pods(group: str, plural: str) -> None:
    inner: Object = {"containers": [{"name": "c"}]}
    whole = inner
    for key in reversed(POD_SPECS[group, plural]):
        whole = {key: whole}
    below: Any = down(group, plural, obj(**whole), PLACE)
    for key in POD_SPECS[group, plural]:
        below = below[key]
    assert below["serviceAccountName"] == "kcp-default"
    assert needs_token(group, plural)


def test_a_kind_with_pods_that_lacks_them() -> None:
    assert down("apps", "deployments", obj(spec={"template": None}), PLACE)["spec"] == {"template": None}
    assert not needs_token("", "configmaps")


def test_service() -> None:
    ports = [{"port": 80, "nodePort": 30000}]
    spec = {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ipFamilies": ["IPv4"], "ports": ports, "type": "X"}
    assert down("", "services", obj(spec=spec), PLACE)["spec"] == {"ports": [{"port": 80}], "type": "X"}
    headless = {"clusterIP": "None", "clusterIPs": ["None"], "ports": []}
    assert down("", "services", obj(spec=headless), PLACE)["spec"] == headless


def test_claim() -> None:
    assert down("", "persistentvolumeclaims", obj(spec={"volumeName": "v", "x": 1}), PLACE)["spec"] == {"x": 1}


def test_job() -> None:
    labels = {"job-name": "x", "controller-uid": "u1", "batch.kubernetes.io/controller-uid": "u1", "app": "a"}
    spec = {"selector": {"matchLabels": {"controller-uid": "u1"}}, "template": {"metadata": {"labels": labels}}}
    below = down("batch", "jobs", obj(spec=copy.deepcopy(spec)), PLACE)["spec"]
    assert "selector" not in below
    assert below["template"]["metadata"]["labels"] == {"app": "a"}
    chosen = {"manualSelector": True, **spec}
    assert down("batch", "jobs", obj(spec=copy.deepcopy(chosen)), PLACE)["spec"] == chosen


def test_tokens_of_other_servers_are_left() -> None:
    assert skipped("secrets", obj(type="kubernetes.io/service-account-token"))
    assert not skipped("secrets", obj(type="Opaque"))
    assert not skipped("configmaps", obj(type="kubernetes.io/service-account-token"))
    shown = obj()
    assert not skipped("pods", shown)
    shown["metadata"]["labels"] = {"workloads.kcp.dev/synced-up": "east"}
    assert skipped("pods", shown), "it has come from a cluster"


@pytest.mark.parametrize(
    ("generation", "observed", "generation_above", "said"),
    [(7, 7, 3, 3), (7, 6, 3, 2), (1, 0, 1, 0), (7, 7, None, 1)],
)
def test_observed_generation(generation: int, observed: int, generation_above: int | None, said: int) -> None:
    status = {"observedGeneration": observed, "replicas": 1}
    assert status_above(status, generation_above, generation) == {"observedGeneration": said, "replicas": 1}
    assert status["observedGeneration"] == observed


def test_status_of_kinds_without_generations() -> None:
    assert status_above({"phase": "Running"}, None, None) == {"phase": "Running"}
    assert status_above({}, None, 1) == {}


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


scalars = st.one_of(
    st.integers(0, 3), st.text("ab", max_size=2), st.booleans(), st.lists(st.integers(0, 2), max_size=2)
)
objects = st.recursive(
    st.dictionaries(st.sampled_from("abc"), scalars, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), st.one_of(scalars, inner), max_size=3),
    max_leaves=10,
)


@given(objects, objects)
def test_merge_patch_makes_one_of_the_other(before: Object, after: Object) -> None:
    patch = merge_patch(before, after)
    assert merged(before, patch) == after
    assert (patch == {}) == (before == after)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        (["status.collisionCount"], {"replicas": 1, "conditions": []}),
        (["status.conditions[0].type", "status.collisionCount"], {"replicas": 1}),
        (["status.collisionCount", "status.replicas", "status.conditions"], {}),
        (["metadata.name", "status"], {}),
        (["status.other"], {}),
        ([], {}),
    ],
)
def test_what_is_refused_of_a_status_is_left_out(fields: list[str], left: Object) -> None:
    causes = [{"field": field, "reason": "FieldValueInvalid"} for field in fields]
    status = {"replicas": 1, "conditions": [], "collisionCount": None}
    assert without_refused(status, StatusError(422, "no", details={"causes": causes})) == left


def test_a_refusal_without_a_field() -> None:
    assert without_refused({"replicas": 1}, StatusError(422, "no")) == {}
