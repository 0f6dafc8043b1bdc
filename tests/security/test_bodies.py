"""Bodies: names, references and values that mean something to the shard."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.detours import asked_at
from tests.integration.eventually import eventually
from tests.security.ground import DEN, VICTIM, Ground, crd

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
NAMESPACES = "/api/v1/namespaces"
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
APPLY = "application/apply-patch+yaml"


def config_map(ground: Ground) -> list[dict[str, Any]]:
    p, t = ground.prefix, ground.token
    return [
        {"metadata": {"name": "a1", "namespace": f"{p}vault"}},
        {"metadata": {"name": "a2", "namespace": "vault"}},
        {"metadata": {"name": "a3", "labels": {"0.kcp.dev/w": t}}},
        {"metadata": {"name": "a4", "labels": {"0.kcp.dev/w": ""}}},
        {"metadata": {"name": f"{p}a5"}},
        {"metadata": {"generateName": f"{p}a6"}},
        {"metadata": {"name": "a7", "uid": ground.uids["ledger"]}},
        {
            "metadata": {
                "name": "a8",
                "managedFields": [{"manager": "x", "operation": "Apply", "apiVersion": f"{p}x/v1"}],
            }
        },
        {"metadata": {"name": "a9", "selfLink": f"/api/v1/namespaces/{p}vault/secrets/key"}},
        {"metadata": {"name": "a10", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": p}}},
        {"metadata": {"name": "a11", "clusterName": VICTIM, "zzz_deprecated_clusterName": VICTIM}},
        {"metadata": {"name": "a12", "deletionTimestamp": "2020-01-01T00:00:00Z", "finalizers": ["x/y"]}},
        {"metadata": {"name": "a13"}, "data": {"k": p, "t": t}},
        {"metadata": {"name": "../../vault/a14"}},
        {"metadata": {"name": "a15/../../x"}},
        {"metadata": {"name": "%2e%2e"}},
        {"metadata": {"name": "a16", "namespace": "../" + f"{p}vault"}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a17"}},
        {"apiVersion": f"{p}bank.example.com/v1", "kind": "Jewel", "metadata": {"name": "a18"}},
        {"kind": "List", "apiVersion": "v1", "items": [{"metadata": {"name": "a19", "namespace": f"{p}vault"}}]},
    ]


async def test_objects_with_names_of_others(ground: Ground) -> None:
    """Refused, or made in the attacker's own namespace where the name means nothing."""
    for number, body in enumerate(config_map(ground)):
        for content_type in ("application/json", "application/yaml"):
            answer = await ground.ask("POST", f"{CONFIGMAPS}?dryRun=All", body, content_type=content_type)
            assert answer.status in (201, 400, 403, 409, 415, 422), (number, answer)
        answer = await ground.ask("POST", CONFIGMAPS, body)
        if answer.status == 201:
            made = orjson.loads(answer.body)
            assert made["metadata"]["namespace"] == "default"
            name = made["metadata"]["name"]
            stored = await _on_the_shard(ground, f"{ground.den_token}-default", name)
            assert stored["metadata"]["labels"]["0.kcp.dev/w"] == ground.den_token


async def _on_the_shard(ground: Ground, namespace: str, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = await ground.kcp.shard.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    return answer


async def test_patches_that_would_change_whose_an_object_is(ground: Ground) -> None:
    await ground.ask("POST", CONFIGMAPS, {"metadata": {"name": "mine", "labels": {"a": "b"}}})
    path = f"{CONFIGMAPS}/mine"
    t, p = ground.token, ground.prefix
    label = "/metadata/labels/0.kcp.dev~1w"
    patches: list[tuple[str, Any]] = [
        (MERGE, {"metadata": {"labels": {"0.kcp.dev/w": t}}}),
        (MERGE, {"metadata": {"labels": {"0.kcp.dev/w": None}}}),
        (MERGE, {"metadata": {"labels": None}}),
        (MERGE, {"metadata": {"namespace": f"{p}vault"}}),
        (MERGE, {"metadata": {"namespace": "vault"}}),
        (MERGE, {"metadata": {"name": f"{p}x"}}),
        (MERGE, {"metadata": None}),
        (MERGE, {"metadata": {"$retainKeys": ["name"], "labels": {"$patch": "replace"}}}),
        ("application/strategic-merge-patch+json", {"metadata": {"labels": {"$patch": "delete"}}}),
        (JSON_PATCH, [{"op": "replace", "path": label, "value": t}]),
        (JSON_PATCH, [{"op": "remove", "path": label}]),
        (JSON_PATCH, [{"op": "remove", "path": "/metadata/labels"}]),
        (JSON_PATCH, [{"op": "test", "path": label, "value": t}]),
        (JSON_PATCH, [{"op": "move", "from": label, "path": "/data/x"}]),
        (JSON_PATCH, [{"op": "copy", "from": label, "path": "/metadata/annotations"}]),
        (JSON_PATCH, [{"op": "copy", "from": "/metadata/namespace", "path": "/metadata/labels/x"}]),
        (JSON_PATCH, [{"op": "replace", "path": "/metadata/namespace", "value": f"{p}vault"}]),
        (
            JSON_PATCH,
            [{"op": "replace", "path": "", "value": {"metadata": {"name": "mine", "namespace": f"{p}vault"}}}],
        ),
        (JSON_PATCH, [{"op": "add", "path": "/metadata/labels/-", "value": t}]),
        (APPLY, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "labels": {"0.kcp.dev/w": t}}}),
        (APPLY, f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: mine, namespace: {p}vault}}\n".encode()),
        (APPLY, b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b]\n"),
        (
            APPLY,
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  <<: {namespace: %svault}\n  name: mine\n".replace(
                "%s", p
            ).encode(),
        ),
    ]
    for content_type, body in patches:
        query = "?fieldManager=x&force=true" if content_type == APPLY else ""
        answer = await ground.ask("PATCH", path + query, body, content_type=content_type)
        assert answer.status in (200, 400, 403, 409, 413, 415, 422), (body, answer)
        stored = await _on_the_shard(ground, f"{ground.den_token}-default", "mine")
        assert stored["metadata"]["labels"]["0.kcp.dev/w"] == ground.den_token, body
        assert ground.token not in json.dumps(stored), body


async def test_owners_elsewhere_delete_nothing(ground: Ground) -> None:
    """The garbage collector of the shard follows references by uid: one to somebody else's object finds nothing."""
    for kind, name, api in (("ConfigMap", "ledger", "v1"), ("ClusterRole", "teller", "rbac.authorization.k8s.io/v1")):
        owner = {"apiVersion": api, "kind": kind, "name": name, "uid": ground.uids[name], "blockOwnerDeletion": True}
        for written in (
            owner,
            {**owner, "name": ground.prefix + name},
            {**owner, "apiVersion": f"{ground.prefix}x.io/v1"},
        ):
            body = {"metadata": {"generateName": "orphan-", "ownerReferences": [written]}}
            answer = await ground.ask("POST", CONFIGMAPS, body)
            assert answer.status in (201, 403, 422), answer


async def test_a_deletion_says_nothing_and_reaches_nothing(ground: Ground) -> None:
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": ground.uids["ledger"]}}
    for path in (
        f"{CONFIGMAPS}/ledger",
        f"{NAMESPACES}/{ground.prefix}vault",
        f"{NAMESPACES}/vault",
        f"{NAMESPACES}/kube-system",
    ):
        answer = await ground.ask("DELETE", path, options)
        assert answer.status in (404, 422), answer
    for query in (
        "",
        f"?labelSelector=0.kcp.dev/w%3D{ground.token}",
        f"?fieldSelector=metadata.namespace%3D{ground.prefix}vault",
    ):
        for path in ("/api/v1/configmaps", "/apis/rbac.authorization.k8s.io/v1/clusterroles", "/api/v1/namespaces"):
            answer = await ground.ask("DELETE", path + query, workspace=VICTIM)
            assert answer.status == 403, answer


@pytest.mark.parametrize("name", ["system", "kube", "k", "kube-system", "default", "k3fq7zn2a", "kaaaaaaaa-x"])
async def test_namespaces_named_like_others_are_ones_own(ground: Ground, name: str) -> None:
    made = await ground.ask("POST", NAMESPACES, {"metadata": {"name": name}})
    assert made.status in (201, 409), made
    if made.status == 201:
        deleted = await ground.ask("DELETE", f"{NAMESPACES}/{name}")
        assert deleted.status == 200


async def test_finalizing_or_renaming_somebody_elses_namespace(ground: Ground) -> None:
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": f"{ground.prefix}vault"},
        "spec": {"finalizers": []},
    }
    for path in (
        f"{NAMESPACES}/{ground.prefix}vault/finalize",
        f"{NAMESPACES}/default/finalize",
        f"{NAMESPACES}/{ground.prefix}vault",
    ):
        answer = await ground.ask("PUT", path, body)
        assert answer.status in (400, 403, 404, 409, 422), answer


async def test_depth_and_size_do_not_stop_the_proxy(ground: Ground) -> None:
    deep = b'{"metadata":{"name":"deep"},"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"
    bodies = [
        deep,
        b"[" * 200_000,
        b'{"a":"' + b"\\u0041" * 400_000 + b'"}',
        b'{"metadata":{"name":"' + b"n" * 2_000_000 + b'"}}',
        b"{" + b",".join(b'"k%d":1' % number for number in range(200_000)) + b"}",
        b"\xff\xfe{}",
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"k8s\0" + b"\xff" * 1000,
        b"k8s\0\x0a\xff\xff\xff\xff\x0f",
        b"k8s\0" + b"\x12\x80\x80\x80\x80\x08" * 100,
    ]
    for body in bodies:
        for content_type in (
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "application/cbor",
        ):
            answer = await ground.ask("POST", CONFIGMAPS, body, content_type=content_type)
            assert answer.status in (400, 413, 415, 422), (content_type, body[:40], answer)
    assert (await ground.ask("GET", CONFIGMAPS)).status == 200


async def test_custom_resources_named_like_the_victims(ground: Ground) -> None:
    """The same group and kind, made by both: two different things."""
    made = await ground.ask(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd("bank.example.com", "jewels", "Jewel")
    )
    assert made.status == 201, made

    async def listed() -> list[Any]:
        answer = await ground.ask("GET", "/apis/bank.example.com/v1/jewels")
        if answer.status != 200:
            raise StatusError(answer.status, "not yet")
        return [orjson.loads(answer.body)["items"]]

    assert await eventually(listed, StatusError, timeout=60) == [[]]
    gone = await ground.ask("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/jewels.bank.example.com")
    assert gone.status == 200


@pytest.mark.parametrize("prefixed", [True, False])
async def test_custom_resources_in_groups_of_others(ground: Ground, prefixed: bool) -> None:
    group = f"{ground.prefix}bank.example.com" if prefixed else "internal.kcp.dev"
    for wanted in (group, "tenancy.kcp.dev", "apps", "rbac.authorization.k8s.io", "workload.kcp.dev"):
        body = crd(wanted, "thieves", "Thief", "Cluster")
        answer = await ground.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
        if answer.status == 201:  # a group of its own name, which is the attacker's private one
            on_shard = await ground.kcp.shard.request(
                "GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/thieves.{ground.den_token}-{wanted}"
            )
            assert on_shard["spec"]["group"].startswith(f"{ground.den_token}-")
            await ground.ask("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/thieves.{wanted}")
        else:
            assert answer.status in (400, 403, 422), answer


async def test_a_conversion_webhook_leads_nowhere_else(ground: Ground) -> None:
    """The shard would call it from inside: it calls kcp, for that workspace, or the CRD is refused."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    known = f"https://127.0.0.1:1/admission/convert/{ground.den_token}/hooks.raid.example.com/{'a' * 43}/https://x/"
    configs: list[dict[str, Any]] = [
        {"url": "https://127.0.0.1:1/", "caBundle": ""},
        {"service": {"namespace": f"{ground.prefix}vault", "name": "x"}},
        {"url": known},
        {"url": known.replace(ground.den_token, ground.prefix[:-1])},
    ]
    made = 0
    for number, config in enumerate(configs):
        body = crd("raid.example.com", f"hook{number}s", f"Hook{number}")
        spec = {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}
        answer = await ground.ask("POST", path, {**body, "spec": {**body["spec"], "conversion": spec}})
        assert answer.status in (201, 403, 422), answer
        if answer.status == 201:
            made += 1
            name = f"hook{number}s.{ground.den_token}-raid.example.com"
            on_shard = await ground.kcp.shard.request("GET", f"{path}/{name}")
            where = on_shard["spec"]["conversion"]["webhook"]["clientConfig"]["url"]
            assert asked_at(where) is not None
            assert asked_at(where).token == ground.den_token  # type: ignore[union-attr]
            assert where.endswith(config["url"])
            await ground.ask("DELETE", f"{path}/hook{number}s.raid.example.com")
    assert made


async def test_workspace_objects_cannot_be_forged(ground: Ground) -> None:
    """A universal workspace has no tenancy API; where there is one, entering needs the parent's rights."""
    for version, plural, kind in (
        ("v1beta1", "workspaces", "Workspace"),
        ("v1alpha1", "clusterworkspaces", "ClusterWorkspace"),
    ):
        body = {"apiVersion": f"tenancy.kcp.dev/{version}", "kind": kind, "metadata": {"name": "bank"}}
        for place in (DEN, "root:raiders", "root:victims", "root", VICTIM):
            answer = await ground.ask("POST", f"/apis/tenancy.kcp.dev/{version}/{plural}", body, workspace=place)
            assert answer.status in (403, 404), answer
