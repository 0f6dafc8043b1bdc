"""Who may touch what a syncer shows of its cluster (`manifests/workload/synced-up.yaml`), on a real shard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import LABEL, new_token
from proxy.shard.control_plane import ControlPlane
from tests.integration.eventually import eventually
from tests.integration.privileged import privileged_as

PODS = Resource("", "v1", "pods")
NAMESPACES = Resource("", "v1", "namespaces", False)
UP, CLUSTER = "workloads.kcp.dev/synced-up", "workloads.kcp.dev/cluster"


def pod(name: str, **labels: str) -> Object:
    meta = {"name": name, "labels": {key.replace("_", "-"): value for key, value in labels.items()}}
    container = {"name": "c", "image": "i"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": "n", "containers": [container]}}


def picture(name: str, cluster: str) -> Object:
    made = pod(name)
    made["metadata"]["labels"][UP] = cluster
    return made


class Place:
    """A namespace that runs on *east*, and the users that have to do with it, privileged as the proxy sends them."""

    def __init__(self, shard: ControlPlane, client: Client) -> None:
        self._shard = shard
        self._clients: dict[str, Client] = {}
        self.token = new_token()
        self.admin = client
        self.namespace = f"{self.token}-words"

    def user(self, name: str) -> Client:
        mapped = f"system:serviceaccount:{self.token}-default:{name}" if "syncer" in name else f"{self.token}-{name}"
        if name not in self._clients:
            self._clients[name] = self._shard.client(headers=privileged_as(mapped))
        return self._clients[name]

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()


@pytest.fixture
async def place(shard: ControlPlane) -> AsyncIterator[Place]:
    async with shard.client() as client:
        made = Place(shard, client)
        meta = {"name": made.namespace, "labels": {CLUSTER: "east"}}
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        # Its service account, without which there are no pods; and policies that act.
        await eventually(lambda: client.create(PODS, pod("own"), made.namespace), StatusError, timeout=20)
        yield made
        await made.close()


async def refused(client: Client, method: str, place: Place, name: str, body: Object | None = None) -> str:
    path = PODS.path(place.namespace, None if method == "POST" else name)
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(StatusError) as caught:
        await client.request(method, path, body=body, content_type=kind)
    assert caught.value.code == 403, caught.value
    return caught.value.message


async def test_a_syncer_writes_its_own_pictures(place: Place) -> None:
    syncer = place.user("syncer-east")
    made = await syncer.create(PODS, picture("shown", "east"), place.namespace)
    assert made["metadata"]["labels"][LABEL] == place.token
    patch: Object = {"metadata": {"labels": {"app": "words"}, "annotations": {"a": "b"}}}
    assert (await syncer.patch(PODS, "shown", patch, place.namespace))["metadata"]["labels"]["app"] == "words"
    await syncer.delete(PODS, "shown", place.namespace, grace=0)


async def test_and_nothing_else(place: Place) -> None:
    """A syncer whose token was stolen, or whose cluster is not to be trusted."""
    syncer = place.user("syncer-east")
    make = "makes and removes only what it shows"
    assert make in await refused(syncer, "POST", place, "mine", pod("mine"))
    assert "only that cluster's syncer" in await refused(syncer, "POST", place, "mine", picture("mine", "west"))
    assert make in await refused(syncer, "DELETE", place, "own")
    label: Object = {"metadata": {"labels": {UP: "east"}}}
    await refused(syncer, "PATCH", place, "own", label)
    await refused(syncer, "PATCH", place, "own", {"metadata": {"annotations": {"a": "b"}}})
    await syncer.create(PODS, picture("shown", "east"), place.namespace)
    await refused(syncer, "PATCH", place, "shown", {"metadata": {"labels": {UP: None}}})
    await refused(syncer, "PATCH", place, "shown", {"metadata": {"labels": {UP: "west"}}})
    other = place.user("syncer-west")
    assert "has nothing to do with" in await refused(other, "POST", place, "x", picture("x", "west"))
    await refused(other, "PATCH", place, "shown", {"metadata": {"annotations": {"a": "b"}}})
    await refused(other, "DELETE", place, "shown")


async def test_users_look_and_remove(place: Place) -> None:
    alice = place.user("alice")
    assert "only that cluster's syncer" in await refused(alice, "POST", place, "x", picture("x", "east"))
    await refused(alice, "PATCH", place, "own", {"metadata": {"labels": {UP: "east"}}})
    await alice.patch(PODS, "own", {"metadata": {"labels": {"app": "words"}}}, place.namespace)
    await place.user("syncer-east").create(PODS, picture("shown", "east"), place.namespace)
    for labels in ({"app": "words"}, {UP: None}):
        await refused(alice, "PATCH", place, "shown", {"metadata": {"labels": labels}})
    assert (await alice.get(PODS, "shown", place.namespace))["metadata"]["name"] == "shown"
    await alice.delete(PODS, "shown", place.namespace, grace=0)
    await alice.delete(PODS, "own", place.namespace, grace=0)


async def test_several_clusters_show_theirs(place: Place) -> None:
    labels = {CLUSTER: "Several", "state.workload.kcp.dev/east": "Sync", "state.workload.kcp.dev/west": "Leave"}
    await place.admin.patch(NAMESPACES, place.namespace, {"metadata": {"labels": labels}})
    for cluster in ("east", "west"):
        syncer = place.user(f"syncer-{cluster}")
        # The policy may go by the namespace's old labels for a moment.
        shown = picture(f"shown-{cluster}", cluster)
        await eventually(partial(syncer.create, PODS, shown, place.namespace), StatusError)
    await refused(place.user("syncer-north"), "POST", place, "x", picture("x", "north"))


async def test_secrets_and_events(place: Place) -> None:
    """A cluster can neither have tokens made for it, nor put anything in the place of what is there."""
    syncer, label = place.user("syncer-east"), {UP: "east"}
    secrets, events = Resource("", "v1", "secrets"), Resource("", "v1", "events")
    accounts = {"kubernetes.io/service-account.name": "default"}

    async def denied(resource: Resource, obj: Object, client: Client = syncer) -> str:
        with pytest.raises(StatusError) as caught:
            await client.create(resource, obj, place.namespace)
        assert caught.value.code == 403, caught.value
        return caught.value.message

    def secret(name: str, kind: str, labels: dict[str, str]) -> Object:
        return {"metadata": {"name": name, "labels": labels, "annotations": accounts}, "type": kind}

    await syncer.create(secrets, secret("shown", "Opaque", label), place.namespace)
    assert "only what it shows" in await denied(secrets, secret("mine", "Opaque", {}))
    for kind in ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"):
        assert "means something to the API server" in await denied(secrets, secret("token", kind, label))
    alice = place.user("alice")
    await alice.create(secrets, secret("own", "Opaque", {}), place.namespace)
    assert "only that cluster's syncer" in await denied(secrets, secret("x", "Opaque", label), alice)
    for client, name in ((alice, "shown"), (syncer, "own")):
        with pytest.raises(StatusError, match=r"only that cluster's syncer|a syncer changes"):
            await client.patch(secrets, name, {"data": {"a": "YQ=="}}, place.namespace)
    with pytest.raises(StatusError, match="only what it shows"):
        await syncer.delete(secrets, "own", place.namespace)

    def event(name: str, labels: dict[str, str]) -> Object:
        about = {"kind": "Pod", "name": "own", "namespace": place.namespace}
        return {"metadata": {"name": name, "labels": labels}, "involvedObject": about}

    # What it says itself, what it shows, and nothing that others would have shown or said.
    await syncer.create(events, event("says", {}), place.namespace)
    await syncer.create(events, event("shows", label), place.namespace)
    await alice.create(events, event("own", {}), place.namespace)
    assert "only that cluster's syncer" in await denied(events, event("x", label), alice)
    assert "only that cluster's syncer" in await denied(events, event("x", {UP: "west"}))
    with pytest.raises(StatusError, match="only what it shows"):
        await syncer.delete(events, "own", place.namespace)
