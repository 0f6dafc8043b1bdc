"""The syncer between two real API servers: the shard stands for the workspace, a second control plane is the cluster.

Labels that the workload controllers would put are put by hand here.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import signal
from pathlib import Path

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane
from syncer import runner
from syncer.apis import IMPORTS
from syncer.definitions import CRDS
from syncer.names import CLUSTER_LABEL, LOCATOR, TOKEN_SECRET, UID, locator, physical_namespace
from syncer.namespaces import CLUSTERS, NAMESPACES
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import (
    ACCOUNTS,
    CONFIGMAPS,
    DEPLOYMENTS,
    JOBS,
    NUMBERS,
    SECRETS,
    SERVICES,
    Pair,
    absent,
    application,
    namespace,
    until,
)

# what the workspace is told


async def test_reports_its_apis_and_that_it_lives(pair: Pair) -> None:
    async with pair.syncer("configmaps", "deployments.apps"):
        status = (await until(lambda: pair.above.get(CLUSTERS, pair.cluster), lambda obj: obj.get("status")))["status"]
        assert status["lastSyncerHeartbeatTime"].startswith("20")
        assert status["syncedResources"] == ["configmaps", "deployments.apps"]
        imported = await pair.above.get(IMPORTS, f"deployments.{pair.cluster}.v1.apps")
        assert imported["metadata"]["ownerReferences"][0]["name"] == pair.cluster
        spec = imported["spec"]
        assert (spec["plural"], spec["kind"], spec["scope"]) == ("deployments", "Deployment", "Namespaced")
        assert spec["shortNames"] == ["deploy"]
        assert {"name": "status"} in spec["subResources"]
        containers = spec["openAPIV3Schema"]["properties"]["spec"]["properties"]["template"]["properties"]["spec"][
            "properties"
        ]["containers"]
        assert containers["items"]["properties"]["image"] == {"type": "string"}
        await pair.above.get(IMPORTS, f"configmaps.{pair.cluster}.v1.core")


async def test_imports_are_written_once_and_repaired(pair: Pair) -> None:
    name = f"configmaps.{pair.cluster}.v1.core"
    async with pair.syncer("configmaps"):
        first = await until(lambda: pair.above.get(IMPORTS, name), bool)
        await asyncio.sleep(2.5)  # two polls
        assert (await pair.above.get(IMPORTS, name))["metadata"]["resourceVersion"] == first["metadata"][
            "resourceVersion"
        ]
        await pair.above.delete(IMPORTS, name)
        again = await until(lambda: pair.above.get(IMPORTS, name), bool)
        assert again["metadata"]["uid"] != first["metadata"]["uid"]
    async with pair.syncer("secrets"):
        await absent(pair.above, IMPORTS, name)


async def test_a_workload_cluster_that_is_gone_and_comes_back(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    name = f"configmaps.{pair.cluster}.v1.core"
    async with pair.syncer("configmaps"):
        await until(lambda: pair.above.get(IMPORTS, name), bool)
        await pair.above.delete(CLUSTERS, pair.cluster)
        await absent(pair.above, IMPORTS, name)

        async def told() -> bool:
            return "does not exist in the workspace" in caplog.text

        await eventually(told, timeout=60)
        await asyncio.sleep(2)
        assert caplog.text.count(f"API import: WorkloadCluster {pair.cluster} does not exist") == 1
        obj = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "metadata": {"name": pair.cluster}}
        await pair.above.create(CLUSTERS, obj)
        await until(lambda: pair.above.get(IMPORTS, name), bool)


# down


async def test_objects_go_down(pair: Pair) -> None:
    async with pair.syncer():
        made = await pair.make(CONFIGMAPS, "settings", data={"a": "1"})
        below = await pair.arrives(CONFIGMAPS, "settings")
        assert below["data"] == {"a": "1"}
        assert below["metadata"]["labels"] == {CLUSTER_LABEL: pair.cluster}
        assert below["metadata"]["annotations"] == {UID: made["metadata"]["uid"]}
        where = await pair.below.get(NAMESPACES, pair.physical)
        assert where["metadata"]["annotations"][LOCATOR] == locator(pair.workspace, pair.namespace)
        assert where["metadata"]["labels"][CLUSTER_LABEL] == pair.cluster
        assert "ownerReferences" not in where["metadata"]


async def test_changes_go_down_and_so_does_what_is_taken_away(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings", data={"a": "1", "b": "2"})
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.change(CONFIGMAPS, "settings", {"data": {"a": "3", "b": None}})
        await pair.arrives(CONFIGMAPS, "settings", lambda obj: obj["data"] == {"a": "3"})


async def test_deletions_go_down(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.remove(CONFIGMAPS, "settings")
        await pair.leaves(CONFIGMAPS, "settings")


async def test_objects_that_lose_their_label_leave(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.change(CONFIGMAPS, "settings", {"metadata": {"labels": {CLUSTER_LABEL: "elsewhere"}}})
        await pair.leaves(CONFIGMAPS, "settings")


async def test_what_happened_while_the_syncer_was_away(pair: Pair) -> None:
    async with pair.syncer():
        for name in ("kept", "changed", "deleted"):
            await pair.make(CONFIGMAPS, name, data={"a": "1"})
            await pair.arrives(CONFIGMAPS, name)
    await pair.remove(CONFIGMAPS, "deleted")
    await pair.change(CONFIGMAPS, "changed", {"data": {"a": "2"}})
    await pair.make(CONFIGMAPS, "new")
    before = await pair.stands(CONFIGMAPS, "kept")
    async with pair.syncer():
        await pair.leaves(CONFIGMAPS, "deleted")
        await pair.arrives(CONFIGMAPS, "new")
        await pair.arrives(CONFIGMAPS, "changed", lambda obj: obj["data"] == {"a": "2"})
    assert await pair.stands(CONFIGMAPS, "kept") == before


async def test_another_object_of_the_same_name(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application("words"))
        first = await pair.arrives(DEPLOYMENTS, "words")
    await pair.change(DEPLOYMENTS, "words", {"metadata": {"finalizers": None}})  # as the workload controllers do
    await pair.remove(DEPLOYMENTS, "words")
    await pair.make(DEPLOYMENTS, "words", **application("other"))  # a selector cannot be changed
    async with pair.syncer():
        second = await pair.arrives(
            DEPLOYMENTS, "words", lambda obj: obj["spec"]["selector"]["matchLabels"] == {"app": "other"}
        )
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_changes_below_are_put_right(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.arrives(DEPLOYMENTS, "words")
        await pair.below.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 5}}, pair.physical)
        await pair.arrives(DEPLOYMENTS, "words", lambda obj: obj["spec"]["replicas"] == 1)
        await pair.below.delete(DEPLOYMENTS, "words", pair.physical)
        await pair.arrives(DEPLOYMENTS, "words")


async def test_nothing_is_written_where_nothing_changes(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.arrives(DEPLOYMENTS, "words")
        await asyncio.sleep(0.5)
        before = await pair.stands(DEPLOYMENTS, "words")
        await asyncio.sleep(1)
        assert await pair.stands(DEPLOYMENTS, "words") == before


async def test_objects_of_others_are_left_alone(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "first")
        await pair.arrives(CONFIGMAPS, "first")
        foreign = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken"}, "data": {"a": "theirs"}}
        await pair.below.create(CONFIGMAPS, foreign, pair.physical)
        await pair.make(CONFIGMAPS, "taken", data={"a": "ours"})
        await pair.make(CONFIGMAPS, "after")
        await pair.arrives(CONFIGMAPS, "after")

        async def told() -> bool:
            return f"taken exists on cluster {pair.cluster} and is not ours" in caplog.text

        await eventually(told)
        assert (await pair.stands(CONFIGMAPS, "taken"))["data"] == {"a": "theirs"}
        await pair.remove(CONFIGMAPS, "taken")
        await asyncio.sleep(0.5)
        assert (await pair.stands(CONFIGMAPS, "taken"))["data"] == {"a": "theirs"}


async def test_a_namespace_of_others_is_left_alone(pair: Pair) -> None:
    await pair.below.create(NAMESPACES, namespace(pair.physical))
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await asyncio.sleep(1)
        listed = await pair.below.list(CONFIGMAPS, pair.physical, label_selector=CLUSTER_LABEL)
        assert listed["items"] == []


async def test_what_every_namespace_has_gets_other_names(pair: Pair) -> None:
    label = {"metadata": {"labels": {CLUSTER_LABEL: pair.cluster}}}
    await eventually(lambda: pair.change(CONFIGMAPS, "kube-root-ca.crt", label), StatusError)
    await eventually(lambda: pair.change(ACCOUNTS, "default", label), StatusError)
    async with pair.syncer():
        above = await pair.above.get(CONFIGMAPS, "kube-root-ca.crt", pair.namespace)
        renamed = await pair.arrives(CONFIGMAPS, "kcp-root-ca.crt")
        assert renamed["data"] == above["data"]
        await pair.arrives(ACCOUNTS, "kcp-default")
        own = await pair.arrives(CONFIGMAPS, "kube-root-ca.crt")
        assert own["data"] != above["data"], "the cluster's own stays"
        await pair.remove(CONFIGMAPS, "kube-root-ca.crt")  # comes back without the label
        await pair.leaves(CONFIGMAPS, "kcp-root-ca.crt")
        assert await pair.stands(CONFIGMAPS, "kube-root-ca.crt")


async def test_names_with_a_meaning_below_are_not_for_others(pair: Pair) -> None:
    label = {"metadata": {"labels": {CLUSTER_LABEL: pair.cluster}}}
    await eventually(lambda: pair.change(CONFIGMAPS, "kube-root-ca.crt", label), StatusError)
    async with pair.syncer():
        ca = (await pair.arrives(CONFIGMAPS, "kcp-root-ca.crt"))["data"]
        await pair.make(CONFIGMAPS, "kcp-root-ca.crt", data={"ca.crt": "forged"})
        await pair.make(CONFIGMAPS, "after")
        await pair.arrives(CONFIGMAPS, "after")
        assert (await pair.stands(CONFIGMAPS, "kcp-root-ca.crt"))["data"] == ca
        await pair.remove(CONFIGMAPS, "kcp-root-ca.crt")
        await asyncio.sleep(0.5)
        assert (await pair.stands(CONFIGMAPS, "kcp-root-ca.crt"))["data"] == ca


async def test_services_and_jobs(pair: Pair) -> None:
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    async with pair.syncer():
        service = await pair.make(SERVICES, "words", spec={"type": "NodePort", "ports": [port], "selector": {"a": "b"}})
        below = await pair.arrives(SERVICES, "words")
        assert below["spec"]["clusterIP"]
        assert below["spec"]["clusterIP"] != service["spec"]["clusterIP"]
        job = await pair.make(JOBS, "once", spec={"template": {"spec": pod}})
        below = await pair.arrives(JOBS, "once")
        assert below["spec"]["selector"] != job["spec"]["selector"]
        await pair.change(JOBS, "once", {"spec": {"parallelism": 2}})
        await pair.arrives(JOBS, "once", lambda obj: obj["spec"]["parallelism"] == 2)


# up


async def test_status_comes_up(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        below = await pair.arrives(DEPLOYMENTS, "words")
        generation = below["metadata"]["generation"]
        status = {"observedGeneration": generation, "replicas": 1, "availableReplicas": 1, "readyReplicas": 1}
        await pair.below.patch(DEPLOYMENTS, "words", {"status": status}, pair.physical, subresource="status")
        above = await until(
            lambda: pair.above.get(DEPLOYMENTS, "words", pair.namespace),
            lambda obj: obj["status"].get("availableReplicas") == 1,
        )
        assert above["status"]["observedGeneration"] == above["metadata"]["generation"]
        assert above["spec"]["template"]["spec"].get("volumes") is None, "only the status comes up"
        # A change above is not observed below yet: a client that waits must go on waiting.
        await pair.change(DEPLOYMENTS, "words", {"spec": {"replicas": 2}})
        above = await until(
            lambda: pair.above.get(DEPLOYMENTS, "words", pair.namespace), lambda obj: obj["metadata"]["generation"] == 2
        )
        await pair.arrives(DEPLOYMENTS, "words", lambda obj: obj["spec"]["replicas"] == 2)
        await asyncio.sleep(0.3)
        above = await pair.above.get(DEPLOYMENTS, "words", pair.namespace)
        assert above["status"]["observedGeneration"] == 1
        # What is not there any more below goes above as well.
        await pair.below.patch(
            DEPLOYMENTS, "words", {"status": {"availableReplicas": None, "observedGeneration": 2}}, pair.physical,
            subresource="status",
        )  # fmt: skip
        await until(
            lambda: pair.above.get(DEPLOYMENTS, "words", pair.namespace),
            lambda obj: "availableReplicas" not in obj["status"] and obj["status"]["observedGeneration"] == 2,
        )


async def test_a_count_that_began_anew_below(pair: Pair) -> None:
    """An API server does not let it be less than it was: the rest of the status comes up all the same."""

    async def report(**status: object) -> None:
        await pair.below.patch(DEPLOYMENTS, "words", {"status": status}, pair.physical, subresource="status")
        await until(
            lambda: pair.above.get(DEPLOYMENTS, "words", pair.namespace),
            lambda obj: status.items() <= obj.get("status", {}).items(),
        )

    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        first = await pair.arrives(DEPLOYMENTS, "words")
        await report(collisionCount=3, replicas=1)
        await pair.below.delete(DEPLOYMENTS, "words", pair.physical)
        await pair.arrives(DEPLOYMENTS, "words", lambda obj: obj["metadata"]["uid"] != first["metadata"]["uid"])
        await report(replicas=2)


async def test_a_nested_part_of_a_status_goes(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(SERVICES, "words", spec={"type": "LoadBalancer", "ports": [{"port": 80}]})
        await pair.arrives(SERVICES, "words")

        async def report(ingress: list[Object] | None) -> None:
            patch = {"status": {"loadBalancer": {"ingress": ingress}}}
            await pair.below.patch(SERVICES, "words", patch, pair.physical, subresource="status")
            await until(
                lambda: pair.above.get(SERVICES, "words", pair.namespace),
                lambda obj: (
                    [item["ip"] for item in obj["status"].get("loadBalancer", {}).get("ingress", [])]
                    == [item["ip"] for item in ingress or []]
                ),
            )

        await report([{"ip": "192.0.2.1"}])
        await report(None)


# pods and their workspace


async def test_pods_get_a_token_of_the_workspace(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        below = await pair.arrives(DEPLOYMENTS, "words")
        pod = below["spec"]["template"]["spec"]
        assert pod["serviceAccountName"] == "kcp-default"
        assert pod["automountServiceAccountToken"] is False
        secret = await pair.arrives(SECRETS, TOKEN_SECRET)
        token = base64.b64decode(secret["data"]["token"]).decode()
        review: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        status = (await pair.above.request("POST", path, body=review))["status"]
        assert status["user"]["username"] == f"system:serviceaccount:{pair.namespace}:default"
        assert not (await pair.below.request("POST", path, body=review))["status"].get("authenticated")
        assert base64.b64decode(secret["data"]["namespace"]).decode() == pair.namespace
        # It is not taken for an object of the workspace, comes back when it is lost, and stays while it is good.
        await pair.make(SECRETS, "after")
        await pair.arrives(SECRETS, "after")
        await pair.below.delete(SECRETS, TOKEN_SECRET, pair.physical)
        again = await pair.arrives(SECRETS, TOKEN_SECRET)
        assert again["metadata"]["uid"] != secret["metadata"]["uid"]
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "more", **application())
        await pair.arrives(DEPLOYMENTS, "more")
        await asyncio.sleep(0.5)
        assert (await pair.stands(SECRETS, TOKEN_SECRET))["metadata"]["resourceVersion"] == again["metadata"][
            "resourceVersion"
        ]


async def test_no_token_without_pods(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await asyncio.sleep(0.3)
        with pytest.raises(StatusError):
            await pair.stands(SECRETS, TOKEN_SECRET)


async def test_tokens_of_the_workspaces_own_server_stay_there(pair: Pair) -> None:
    account = {"kubernetes.io/service-account.name": "default"}
    meta = {"name": "old-style", "labels": {CLUSTER_LABEL: pair.cluster}, "annotations": account}
    obj = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/service-account-token"}
    async with pair.syncer():
        await pair.above.create(SECRETS, obj, pair.namespace)
        await pair.make(SECRETS, "after", stringData={"a": "b"})
        below = await pair.arrives(SECRETS, "after")
        assert below["data"] == {"a": base64.b64encode(b"b").decode()}
        with pytest.raises(StatusError):
            await pair.stands(SECRETS, "old-style")


# namespaces


async def test_a_deleted_namespace_goes_below(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.above.delete(NAMESPACES, pair.namespace)
        await absent(pair.below, NAMESPACES, pair.physical)


async def test_a_namespace_that_moves_to_another_cluster(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.above.patch(NAMESPACES, pair.namespace, {"metadata": {"labels": {CLUSTER_LABEL: "elsewhere"}}})
        await absent(pair.below, NAMESPACES, pair.physical)


async def test_a_namespace_deleted_while_the_syncer_was_away(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
    await pair.above.delete(NAMESPACES, pair.namespace)
    async with pair.syncer():
        await absent(pair.above, NAMESPACES, pair.namespace)
        await absent(pair.below, NAMESPACES, pair.physical)


async def test_a_namespace_deleted_below_is_made_again_with_all_in_it(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.arrives(SECRETS, TOKEN_SECRET)
        first = await pair.below.get(NAMESPACES, pair.physical)
        await pair.below.delete(NAMESPACES, pair.physical)
        await until(
            lambda: pair.below.get(NAMESPACES, pair.physical),
            lambda obj: obj["metadata"]["uid"] != first["metadata"]["uid"],
        )
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.arrives(DEPLOYMENTS, "words")
        await pair.arrives(SECRETS, TOKEN_SECRET)


async def test_namespaces_of_other_workspaces_are_not_touched(pair: Pair) -> None:
    """Another syncer may use the same name for the cluster."""
    name = physical_namespace("root:other", "words")
    annotations = {LOCATOR: locator("root:other", "words")}
    await pair.below.create(NAMESPACES, namespace(name, {CLUSTER_LABEL: pair.cluster}, annotations))
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "labels": {CLUSTER_LABEL: pair.cluster}},
    }
    await pair.below.create(CONFIGMAPS, theirs, name)
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await asyncio.sleep(0.5)
        assert not (await pair.below.get(NAMESPACES, name))["metadata"].get("deletionTimestamp")
        assert await pair.below.get(CONFIGMAPS, "x", name)


@pytest.fixture
def own_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of the syncer's namespace, told as to a pod."""
    name = f"kcpsync-{next(NUMBERS)}"
    (tmp_path / "namespace").write_text(name)
    monkeypatch.setattr(runner, "SERVICE_ACCOUNT", tmp_path)
    return name


async def test_on_removal(pair: Pair, own_namespace: str) -> None:
    def owners(obj: Object) -> list[str]:
        return [owner["name"] for owner in obj["metadata"].get("ownerReferences") or ()]

    await pair.below.create(NAMESPACES, namespace(own_namespace))
    await pair.make(CONFIGMAPS, "settings")
    async with pair.syncer(delete_on_removal=True):
        await pair.arrives(CONFIGMAPS, "settings")
        assert owners(await pair.below.get(NAMESPACES, pair.physical)) == [own_namespace]
    async with pair.syncer():
        await until(lambda: pair.below.get(NAMESPACES, pair.physical), lambda obj: owners(obj) == [])
    async with pair.syncer(delete_on_removal=True):
        await until(lambda: pair.below.get(NAMESPACES, pair.physical), lambda obj: owners(obj) == [own_namespace])
    await pair.below.delete(NAMESPACES, own_namespace)
    await absent(pair.below, NAMESPACES, pair.physical)


# other kinds


async def test_a_type_of_the_cluster(pair: Pair) -> None:
    """Its CRD stands for what the controllers make of the import."""
    group = f"{pair.cluster}.example.com"
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
            "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
        },
    }
    crd = {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": schema}, "additionalPrinterColumns": columns,
                }
            ],
        },
    }  # fmt: skip
    await pair.below.create(CRDS, crd)
    widgets = Resource(group, "v1", "widgets")
    async with pair.syncer(f"widgets.{group}"):
        imported = await until(lambda: pair.above.get(IMPORTS, f"widgets.{pair.cluster}.v1.{group}"), bool)
        assert imported["spec"]["openAPIV3Schema"] == schema
        assert imported["spec"]["columnDefinitions"] == columns
        await pair.above.create(CRDS, crd)
        meta = {"name": "w", "namespace": pair.namespace, "labels": {CLUSTER_LABEL: pair.cluster}}
        widget = {"apiVersion": widgets.api_version, "kind": "Widget", "metadata": meta, "spec": {"size": 1}}
        await eventually(lambda: pair.above.create(widgets, widget), StatusError, timeout=60)
        assert (await pair.arrives(widgets, "w"))["spec"] == {"size": 1}
        status = {"status": {"phase": "Running"}}
        await pair.below.patch(widgets, "w", status, pair.physical, subresource="status")
        await until(
            lambda: pair.above.get(widgets, "w", pair.namespace), lambda obj: obj.get("status") == {"phase": "Running"}
        )


# trouble


async def test_the_cluster_goes_away_and_comes_back(pair: Pair, plane: ControlPlane) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "before")
        await pair.arrives(CONFIGMAPS, "before")
        apiserver = plane.processes["kube-apiserver"]
        pid = apiserver.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await pair.make(CONFIGMAPS, "meanwhile")
        await pair.remove(CONFIGMAPS, "before")
        await pair.arrives(CONFIGMAPS, "meanwhile")
        await pair.leaves(CONFIGMAPS, "before")
        await pair.make(CONFIGMAPS, "after")
        await pair.arrives(CONFIGMAPS, "after")
