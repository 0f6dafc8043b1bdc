"""One namespace of a workspace on its way out: its content is deleted, what stays is told, and at last it is gone."""

from __future__ import annotations

import asyncio
from collections import Counter

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import token_of
from proxy.tenancy.api import NAMESPACES, now
from proxy.tenancy.kinds import Kind, NativeKinds, own_namespaced
from proxy.tenancy.terminating import Left, conditions

FINALIZER = "kubernetes"
"""In the spec of each namespace: its content is still to be deleted."""
PODS = Resource("", "v1", "pods")
AWAY = frozenset({429, 503, 504})
"""Codes of a shard that says nothing at all."""


class Emptying:
    """Of the namespace ``name`` that has ``uid``: another may have the name by now."""

    def __init__(self, name: str, uid: str, client: Client, patient: Client, native: NativeKinds) -> None:
        """``patient`` asks about kinds that a webhook of the workspace may keep waiting."""
        self.name = name
        self._uid = uid
        token = token_of(name)
        assert token is not None
        self._token = token
        self._client = client
        self._patient = patient
        self._native = native
        self._kinds: list[Kind] = []
        """All that there may be; empty before they are known."""
        self._left: list[Kind] = []
        """Of which there was something still at the last look."""

    async def look(self) -> bool:
        """Do what can be done now; whether it is gone. Raises StatusError."""
        found = await self._client.find(NAMESPACES, self.name)
        if found is None or found["metadata"]["uid"] != self._uid:
            return True
        if FINALIZER not in (found["spec"].get("finalizers") or ()):
            return False  # others' finalizers keep it
        undiscovered = await self._discover()
        whole = len(self._left) == len(self._kinds)
        left = await self._delete_content()
        if not self._left and not whole:  # something may have come since the others were looked at
            self._left = list(self._kinds)
            left = await self._delete_content()
        found = await self._tell(found, left, undiscovered)
        if self._left or undiscovered:
            return False
        kept = [item for item in found["spec"]["finalizers"] if item != FINALIZER]
        await self._client.replace(NAMESPACES, found | {"spec": {"finalizers": kept}}, "finalize")
        return not kept and not found["metadata"].get("finalizers")

    async def _discover(self) -> str:
        """Learn which kinds there may be; why that cannot be learnt."""
        if self._kinds:
            return ""
        try:
            native, own = await asyncio.gather(self._native.namespaced(), own_namespaced(self._client, self._token))
        except StatusError as error:
            if error.code in AWAY:
                raise
            return error.message
        self._kinds = [*native, *own]
        self._left = list(self._kinds)
        return ""

    async def _delete_content(self) -> list[Left]:
        """What is left of it. Pods go first: they may need what is there beside them."""
        pods = [kind for kind in self._left if kind.resource == PODS]
        others = [kind for kind in self._left if kind.resource != PODS]
        left = await self._clear(pods)
        waiting = others if left else []
        if not left:
            left = await self._clear(others)
        self._left = [*(each.kind for each in left), *waiting]
        return left

    async def _clear(self, kinds: list[Kind]) -> list[Left]:
        found = await asyncio.gather(*map(self._clear_kind, kinds), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException):
                raise each
        return [each for each in found if isinstance(each, Left)]

    async def _clear_kind(self, kind: Kind) -> Left | None:
        client = self._patient if kind.converted else self._client
        path = kind.resource.path(self.name)
        try:
            if await self._native.is_vacant(kind):
                return None
            # Most kinds have nothing: this costs less than to have nothing deleted.
            if not (await client.request("GET", path, params={"limit": 1}, accept=METADATA_LIST)).get("items"):
                return None
            await client.delete_collection(kind.resource, self.name, propagation="Background")
            items = (await client.list(kind.resource, self.name, accept=METADATA_LIST))["items"]
        except StatusError as error:
            if error.code == 404:
                return None  # its CRD is gone
            if error.code in AWAY and not kind.converted:
                raise
            return Left(kind, 0, {}, error.message)
        finalizers = Counter(name for item in items for name in item["metadata"].get("finalizers") or ())
        return Left(kind, len(items), finalizers) if items else None

    async def _tell(self, found: Object, left: list[Left], undiscovered: str) -> Object:
        """The namespace with what there is to say."""
        status = found.get("status") or {}
        before = status.get("conditions") or []
        if not (left or undiscovered or before or found["metadata"].get("finalizers")):
            return found  # it is gone in a moment
        after = conditions(before, left, undiscovered=undiscovered, now=now())
        if after == before:
            return found
        return await self._client.replace(NAMESPACES, found | {"status": {**status, "conditions": after}}, "status")
