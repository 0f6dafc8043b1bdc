"""What a cluster's controllers make is shown in the workspace."""

from __future__ import annotations

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from syncer.names import ASKED_UP, SHOWS, SYNCED_UP
from syncer.namespaces import CLUSTERS, NAMESPACES
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import CONFIGMAPS, EVENTS, SECRETS, Pair, absent, until

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


async def bind(pair: Pair, name: str, node: str) -> None:
    """As the scheduler does."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    await pair.below.request("POST", PODS.path(pair.physical, name, "binding"), body=binding)


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
        await bind(pair, "words-1", "node-1")
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


def secret(name: str, value: str, **fields: object) -> Object:
    meta = {"name": name, "labels": {ASKED_UP: "true"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": value}, **fields}


async def test_secrets_that_ask_for_it_are_shown(pair: Pair) -> None:
    """As operators make them; not those that were brought, nor any that does not ask, nor tokens of the cluster."""
    async with pair.syncer("secrets", "configmaps", sync_up=("secrets", "configmaps")):
        await pair.make(SECRETS, "brought")
        await pair.change(SECRETS, "brought", {"metadata": {"labels": {ASKED_UP: "true"}}})
        await pair.arrives(SECRETS, "brought", lambda obj: ASKED_UP in obj["metadata"]["labels"])
        unasked = secret("unasked", "x")
        del unasked["metadata"]["labels"]
        await pair.below.create(SECRETS, unasked, pair.physical)
        account = {"kubernetes.io/service-account.name": "default"}
        token = secret("token", "x", type="kubernetes.io/service-account-token")
        token["metadata"]["annotations"] = account
        await eventually(lambda: pair.below.create(SECRETS, token, pair.physical), StatusError, timeout=20)
        await pair.below.create(SECRETS, secret("database", "first"), pair.physical)
        settings = {"metadata": {"name": "database", "labels": {ASKED_UP: "true"}}, "data": {"host": "db"}}
        await pair.below.create(CONFIGMAPS, settings, pair.physical)

        async def look() -> Object:
            return await pair.above.get(SECRETS, "database", pair.namespace)

        first = await until(look, lambda obj: obj["data"] == {"password": "Zmlyc3Q="})
        await until(
            lambda: pair.above.get(CONFIGMAPS, "database", pair.namespace), lambda obj: obj["data"] == {"host": "db"}
        )
        await pair.below.patch(SECRETS, "database", {"stringData": {"password": "second"}}, pair.physical)
        second = await until(look, lambda obj: obj["data"] == {"password": "c2Vjb25k"})
        assert second["metadata"]["uid"] == first["metadata"]["uid"]
        await pair.below.patch(SECRETS, "database", {"immutable": True}, pair.physical)
        await until(look, lambda obj: obj.get("immutable") is True)
        # Nobody can change that one any more: another one stands there afterwards, and above as well.
        await pair.below.delete(SECRETS, "database", pair.physical)
        await pair.below.create(SECRETS, secret("database", "third"), pair.physical)
        await until(look, lambda obj: obj["data"] == {"password": "dGhpcmQ="})
        await pair.below.delete(SECRETS, "database", pair.physical)
        await absent(pair.above, SECRETS, "database", pair.namespace)
        listed = await pair.above.list(SECRETS, pair.namespace)
        assert [item["metadata"]["name"] for item in listed["items"]] == ["brought"]


def event(name: str, kind: str, about: str, namespace: str, uid: str = "of-below", **fields: object) -> Object:
    subject = {"apiVersion": "v1", "kind": kind, "namespace": namespace, "name": about, "uid": uid}
    meta = {"name": name, "namespace": namespace}
    return {"metadata": meta, "involvedObject": subject, "reason": "Told", "type": "Warning", "count": 1, **fields}


async def test_events_about_what_the_workspace_has(pair: Pair) -> None:
    async with pair.syncer("configmaps", sync_up=("events", "pods")):
        await started(pair)
        made = await below(pair, pod(nodeName="node-1"))
        shown = await above(pair, "words-1")
        message = f"Successfully assigned {pair.physical}/words-1 to node-1"
        events = [
            event("of-a-pod", "Pod", "words-1", pair.physical, made["metadata"]["uid"], message=message),
            event("of-what-was-brought", "ConfigMap", "something", pair.physical, message="it is there"),
            event("of-nothing-above", "Pod", "nobody", pair.physical, message="you do not see me"),
        ]
        for each in reversed(events):
            await pair.below.create(EVENTS, each, pair.physical)

        async def told(name: str) -> Object:
            return await pair.above.get(EVENTS, name, pair.namespace)

        found = await until(lambda: told("of-a-pod"), lambda obj: obj["count"] == 1)
        assert found["message"] == f"Successfully assigned {pair.namespace}/words-1 to node-1"
        assert found["involvedObject"]["uid"] == shown["metadata"]["uid"]
        assert found["involvedObject"]["namespace"] == pair.namespace
        brought = await until(lambda: told("of-what-was-brought"), lambda obj: obj["type"] == "Warning")
        above_uid = (await pair.above.get(CONFIGMAPS, "something", pair.namespace))["metadata"]["uid"]
        assert brought["involvedObject"]["uid"] == above_uid
        await pair.below.patch(EVENTS, "of-a-pod", {"count": 2}, pair.physical)
        await until(lambda: told("of-a-pod"), lambda obj: obj["count"] == 2)
        await pair.below.delete(EVENTS, "of-a-pod", pair.physical)
        await absent(pair.above, EVENTS, "of-a-pod", pair.namespace)
        with pytest.raises(StatusError, match="not found"):
            await told("of-nothing-above")


async def test_events_go_with_their_object(pair: Pair) -> None:
    """What was told before its pod was shown, or of the pod that its picture is of no longer or only now."""

    async def tells(name: str) -> str:
        uid: str = (await pair.above.get(EVENTS, name, pair.namespace))["involvedObject"]["uid"]
        return uid

    async with pair.syncer("configmaps", sync_up=("events", "pods")):
        await started(pair)
        first = (await below(pair, pod()))["metadata"]["uid"]
        unplaced = (await above(pair, "words-1"))["metadata"]["uid"]
        await pair.below.create(EVENTS, event("placed", "Pod", "words-1", pair.physical, first), pair.physical)
        await eventually(lambda: tells("placed"), StatusError, timeout=60)
        await bind(pair, "words-1", "node-1")

        async def placed() -> bool:
            uid = (await pair.above.get(PODS, "words-1", pair.namespace))["metadata"]["uid"]
            return bool(uid != unplaced and await tells("placed") == uid)

        await eventually(placed, StatusError, timeout=60)
        kept = await tells("placed")
        await pair.below.delete(PODS, "words-1", pair.physical, grace=0)
        second = (await below(pair, pod(nodeName="node-2")))["metadata"]["uid"]
        await pair.below.create(EVENTS, event("of-the-next", "Pod", "words-1", pair.physical, second), pair.physical)
        found = await eventually(lambda: tells("of-the-next"), StatusError, timeout=60)
        assert found == (await pair.above.get(PODS, "words-1", pair.namespace))["metadata"]["uid"]
        assert await tells("placed") == kept != found


async def test_events_that_come_before_their_object(pair: Pair) -> None:
    """They are shown as soon as that is there."""

    async def there(name: str) -> Object:
        return await pair.above.get(EVENTS, name, pair.namespace)

    async with pair.syncer("configmaps", sync_up=("events",)):
        await started(pair)
        for name, about in (("early", "late"), ("after-it", "something")):
            await pair.below.create(EVENTS, event(name, "ConfigMap", about, pair.physical), pair.physical)
        await eventually(lambda: there("after-it"), StatusError, timeout=60)
        with pytest.raises(StatusError, match="not found"):
            await there("early")
        await pair.make(CONFIGMAPS, "late")
        await eventually(lambda: there("early"), StatusError, timeout=20)
