"""What a cluster's controllers make is shown in the workspace."""

from __future__ import annotations

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from syncer.names import SHOWS, SYNCED_UP
from syncer.namespaces import CLUSTERS, NAMESPACES
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import CONFIGMAPS, Pair, absent, until

PODS = Resource("", "v1", "pods")
UP = {"sync_up": ("pods",)}


def pod(name: str = "words-1", **spec: object) -> Object:
    meta = {"name": name, "labels": {"app": "words"}, "annotations": {"team": "a"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": "words", "image": "words:1"}], **spec},
    }


async def started(pair: Pair) -> None:
    """Something stands below, so that there is a namespace."""
    await pair.make(CONFIGMAPS, "something")
    await pair.arrives(CONFIGMAPS, "something")


async def below(pair: Pair, obj: Object) -> Object:
    """Made on the cluster; its service account comes a moment after the namespace."""
    return (await eventually(lambda: pair.below.create(PODS, obj, pair.physical), StatusError, timeout=20)) or {}


async def status(pair: Pair, name: str, **fields: object) -> None:
    await pair.below.patch(PODS, name, {"status": fields}, pair.physical, subresource="status")


async def above(pair: Pair, name: str, **wanted: object) -> Object:
    """As soon as its status says that."""

    async def look() -> Object:
        return await pair.above.get(PODS, name, pair.namespace)

    def says(obj: Object) -> bool:
        return all(obj["status"].get(key) == value for key, value in wanted.items())

    return await until(look, says)


async def test_a_pod_is_shown_until_it_is_gone(pair: Pair) -> None:
    async with pair.syncer(**UP):
        await started(pair)
        made = await below(pair, pod(nodeName="node-1"))
        await status(pair, "words-1", phase="Running", podIP="10.1.2.3", podIPs=[{"ip": "10.1.2.3"}])
        shown = await above(pair, "words-1", phase="Running", podIP="10.1.2.3")
        cluster = await pair.above.get(CLUSTERS, pair.cluster)
        meta = shown["metadata"]
        assert meta["labels"] == {"app": "words", SYNCED_UP: pair.cluster}
        assert meta["annotations"]["team"] == "a"
        assert meta["annotations"][SHOWS].startswith(made["metadata"]["uid"])
        assert [owner["uid"] for owner in meta["ownerReferences"]] == [cluster["metadata"]["uid"]]
        assert shown["spec"]["nodeName"] == "node-1"
        assert shown["spec"]["containers"][0]["image"] == "words:1"
        labels = {"metadata": {"labels": {"app": None, "tier": "web"}, "annotations": {"team": None}}}
        await pair.below.patch(PODS, "words-1", labels, pair.physical)
        await until(
            lambda: pair.above.get(PODS, "words-1", pair.namespace),
            lambda obj: obj["metadata"]["labels"] == {"tier": "web", SYNCED_UP: pair.cluster},
        )
        await pair.below.delete(PODS, "words-1", pair.physical)
        await until(
            lambda: pair.above.get(PODS, "words-1", pair.namespace), lambda obj: "deletionTimestamp" in obj["metadata"]
        )
        await pair.below.delete(PODS, "words-1", pair.physical, grace=0)
        await absent(pair.above, PODS, "words-1", pair.namespace)


async def test_what_a_picture_cannot_become_is_a_new_picture(pair: Pair) -> None:
    """A pod that finds its node; a container that has ended for good and starts again."""
    async with pair.syncer(**UP):
        await started(pair)
        await below(pair, pod(restartPolicy="Never"))
        first = await above(pair, "words-1", phase="Pending")
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "words-1"}, "target": target}
        await pair.below.request("POST", PODS.path(pair.physical, "words-1", "binding"), body=binding)
        bound = await until(
            lambda: pair.above.get(PODS, "words-1", pair.namespace), lambda obj: obj["spec"].get("nodeName")
        )
        assert bound["metadata"]["uid"] != first["metadata"]["uid"]
        await pair.below.delete(PODS, "words-1", pair.physical, grace=0)
        await below(pair, pod(nodeName="node-2"))
        again = await until(
            lambda: pair.above.get(PODS, "words-1", pair.namespace),
            lambda obj: obj["spec"].get("nodeName") == "node-2",
        )
        assert again["metadata"]["uid"] != bound["metadata"]["uid"]


async def test_what_happens_while_no_syncer_runs_is_seen_later(pair: Pair) -> None:
    async with pair.syncer(**UP):
        await started(pair)
        for name in ("stays", "goes"):
            await below(pair, pod(name, nodeName="node-1"))
            await above(pair, name)
    await pair.below.delete(PODS, "goes", pair.physical, grace=0)
    await status(pair, "stays", phase="Running")
    await below(pair, pod("comes", nodeName="node-1"))
    before = await pair.above.get(PODS, "stays", pair.namespace)
    async with pair.syncer(**UP):
        await above(pair, "comes")
        await absent(pair.above, PODS, "goes", pair.namespace)
        after = await above(pair, "stays", phase="Running")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        await pair.above.delete(PODS, "stays", pair.namespace, grace=0)
        await until(
            lambda: pair.above.get(PODS, "stays", pair.namespace),
            lambda obj: obj["metadata"]["uid"] != before["metadata"]["uid"],
        )


async def test_nothing_else_is_shown(pair: Pair) -> None:
    """Pods of other namespaces; those that were brought from above; a place above that is taken."""
    other = await pair.above.create(PODS, pod("words-1"), pair.namespace)
    async with pair.syncer(**UP) as syncer:
        await started(pair)
        await eventually(lambda: pair.below.create(PODS, pod("stray"), "default"), StatusError, timeout=20)
        await below(pair, pod("words-1", nodeName="node-1"))
        await below(pair, pod("words-2", nodeName="node-1"))
        await above(pair, "words-2")
        kind = next(kind for kind in syncer.metrics.kinds if kind.name == "pods/up")

        async def told() -> bool:
            return kind.conflicts == 1

        await eventually(told, timeout=20)
        found = await pair.above.get(PODS, "words-1", pair.namespace)
        assert found["metadata"]["uid"] == other["metadata"]["uid"]
        assert SYNCED_UP not in found["metadata"]["labels"]
        with pytest.raises(StatusError, match="not found"):
            await pair.above.get(PODS, "stray", pair.namespace)
    await pair.below.delete(PODS, "stray", "default", grace=0)


async def test_pictures_leave_with_the_namespace_or_the_cluster(pair: Pair) -> None:
    async with pair.syncer(**UP):
        await started(pair)
        await below(pair, pod(nodeName="node-1"))
        await above(pair, "words-1")
        await pair.above.patch(
            NAMESPACES, pair.namespace, {"metadata": {"labels": {"workloads.kcp.dev/cluster": "elsewhere"}}}
        )
        await absent(pair.above, PODS, "words-1", pair.namespace)
