"""What stands in a namespace carries the namespace's cluster label.

Objects get it when they are written, by an admission policy of the shard. Those that were there before, or slipped by
while the policy had not yet seen the namespace's label, get it here.
"""

from __future__ import annotations

import asyncio
import logging

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import ALWAYS, BINDINGS, CLUSTER_LABEL, NEGOTIATED, is_true
from proxy.workload.shared import group_of, keys_of, name_of
from proxy.workload.summaries import Summaries
from proxy.workload.typekey import TypeKey, key_of

log = logging.getLogger(__name__)

PASSES, PAUSE = 20, 0.1
"""How often objects are looked at until all have their label, and seconds between."""

Item = tuple[Resource, str, str]
"""Resource, namespace, name."""


class Labels:
    """One shard's objects of the kinds that are synced."""

    def __init__(self, client: Client, summaries: Summaries) -> None:
        self._client = client
        self._summaries = summaries
        self._negotiated = Informer(client, NEGOTIATED, transform=_slim_negotiated)
        self._negotiated.add_handler(self._negotiated_event)
        self._bindings = Informer(client, BINDINGS)
        self._bindings.add_handler(self._binding_event)
        self._sharing: dict[Resource, set[str]] = {}
        """Kinds that workspaces share → tokens of those."""
        self._kinds: dict[Resource, asyncio.Task[None] | None] = dict.fromkeys(ALWAYS)
        """Those that are followed, or are to be."""
        self._unlabelled: dict[Resource, Informer] = {}
        self._placed: dict[str, str | None] = {}
        """Namespace → label of everything in it, as far as we have seen to that."""
        self._changed = asyncio.Event()
        self._objects: WorkQueue[Item] = WorkQueue(self._label_object, name="cluster labels", workers=4)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bindings.run())
            await self._bindings.wait_synced()
            group.create_task(self._negotiated.run())
            await self._negotiated.wait_synced()
            group.create_task(self._objects.run())
            while True:
                self._changed.clear()
                for resource in [resource for resource, task in self._kinds.items() if task is None]:
                    self._kinds[resource] = group.create_task(self._follow(resource))
                await self._changed.wait()

    async def wait_synced(self) -> None:
        """Until it is known which kinds there are."""
        await self._bindings.wait_synced()
        await self._negotiated.wait_synced()

    async def follow(self, namespace: str, cluster: str | None) -> None:
        """See to it that everything in the namespace carries the label, or with None that nothing does."""
        if namespace in self._placed and self._placed[namespace] == cluster:
            return
        # First, so that what appears from now on is labelled as it is seen.
        self._placed[namespace] = cluster
        try:
            await self._settle(namespace, cluster)
        except BaseException:
            self._placed.pop(namespace, None)
            raise

    async def _settle(self, namespace: str, cluster: str | None) -> None:
        # Until nothing is left: the admission policy may go by the namespace's old label for a moment.
        for _ in range(PASSES):
            if not await self._relabel(namespace, cluster):
                return
            await asyncio.sleep(PAUSE)
        raise StatusError(503, f"objects of namespace {namespace} do not keep the label {cluster}")

    def forget(self, namespace: str) -> None:
        """The namespace is gone."""
        self._placed.pop(namespace, None)

    async def _follow(self, resource: Resource) -> None:
        """Label what has no label yet."""
        selector = f"{LABEL},!{CLUSTER_LABEL}"
        informer = Informer(self._client, resource, label_selector=selector, metadata_only=True, transform=_slim)

        def event(kind: str, old: Object | None, new: Object) -> None:
            if kind != "DELETED" and self._placed.get(new["namespace"]):
                self._objects.add((resource, new["namespace"], new["name"]))

        informer.add_handler(event)
        self._unlabelled[resource] = informer
        try:
            await informer.run()
        finally:
            if self._unlabelled[resource] is informer:
                del self._unlabelled[resource]

    def _negotiated_event(self, kind: str, old: Object | None, new: Object) -> None:
        key: TypeKey | None = new["key"] or (old["key"] if old else None)
        if key is None:
            return
        if kind != "DELETED":
            if ("", name_of(key)) not in self._bindings.store:
                self._add_kind(key.resource)
        elif key.group not in NATIVE_GROUPS:
            # Native kinds are followed for all workspaces at once, and stay.
            self._remove_kind(key.resource)

    def _binding_event(self, kind: str, old: Object | None, new: Object) -> None:
        keys = keys_of(new)
        if not keys or not new["spec"].get("namespaced"):
            return
        token = keys[0].token
        before = _shared_kind(old) if old is not None else None
        after = _shared_kind(new) if kind != "DELETED" else None
        for resource in {before, after, _shared_kind(new)} - {None, after}:
            assert resource is not None
            sharing = self._sharing.get(resource, set())
            sharing.discard(token)
            if not sharing:
                self._sharing.pop(resource, None)
                self._remove_kind(resource)
        for key in keys if after is None else ():
            if (self._negotiated.store.get(("", key.name)) or {}).get("key") == key:
                self._add_kind(key.resource)  # of the workspace's own from now on
        if after is not None:
            self._sharing.setdefault(after, set()).add(token)
            self._add_kind(after)
            for key in keys:  # followed as the workspace's own before its binding was known
                self._remove_kind(key.resource)

    def _add_kind(self, resource: Resource) -> None:
        self._kinds.setdefault(resource, None)
        self._changed.set()
        self._summaries.add_kind(resource)

    def _remove_kind(self, resource: Resource) -> None:
        self._summaries.remove_kind(resource)
        task = self._kinds.pop(resource, None)
        if task is not None:
            task.cancel()

    def _is_of(self, resource: Resource, token: str | None) -> bool:
        """Whether there may be objects of that kind in the workspace."""
        return resource.group in NATIVE_GROUPS or token in self._sharing.get(resource, (token_of(resource.group),))

    async def _relabel(self, namespace: str, cluster: str | None) -> int:
        """How many objects carried another label, or lacked it. Raises the last of the errors, after all were tried."""
        count = 0
        failure: StatusError | None = None
        token = token_of(namespace)
        # Of the other kinds there is nothing here: they are those of other workspaces.
        for resource in [kind for kind in self._kinds if self._is_of(kind, token)]:
            wanted = f"{CLUSTER_LABEL}!={cluster}" if cluster else CLUSTER_LABEL
            try:
                listed = await self._client.list(
                    resource, namespace, label_selector=f"{LABEL},{wanted}", accept=METADATA_LIST
                )
            except StatusError as error:
                if error.code == 404:
                    continue
                raise
            for item in listed["items"]:
                count += 1
                try:
                    await self._label(resource, namespace, item["metadata"]["name"], cluster)
                except StatusError as error:
                    failure = error
        if failure is not None:
            raise failure
        return count

    async def _label_object(self, item: Item) -> float | None:
        resource, namespace, name = item
        informer = self._unlabelled.get(resource)
        cluster = self._placed.get(namespace)
        if cluster and informer is not None and (namespace, name) in informer.store:
            await self._label(resource, namespace, name, cluster)
        return None

    async def _label(self, resource: Resource, namespace: str, name: str, cluster: str | None) -> None:
        patch = {"metadata": {"labels": {CLUSTER_LABEL: cluster}}}
        try:
            await self._client.patch(resource, name, patch, namespace)
        except StatusError as error:
            if error.code != 404:
                raise


def _slim(obj: Object) -> Object:
    return {"name": obj["metadata"]["name"], "namespace": obj["metadata"].get("namespace", "")}


def _slim_negotiated(obj: Object) -> Object:
    key = key_of(obj)
    served = (obj.get("spec") or {}).get("scope") == "Namespaced" and is_true(obj, "Published")
    return {"key": key if served else None}


def _shared_kind(binding: Object) -> Resource:
    return Resource(group_of(binding), binding["spec"]["versions"][0]["name"], binding["spec"]["plural"])
