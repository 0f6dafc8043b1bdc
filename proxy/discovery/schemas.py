"""OpenAPI of workspaces: fetched from shards at first use, cut down, kept while memory allows.

A document is kept under all that it was made from, so it is never out of date; workspaces that serve the same share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any

import orjson
from cachetools import LRUCache

from proxy.discovery.documents import Document, document
from proxy.discovery.negotiate import JSON, OPENAPI_V2_PROTOBUF
from proxy.discovery.openapi import Spec, filtered, merged, path_of, plain, resource_of_path, subresource_of_path
from proxy.discovery.openapi_proto import encode_document
from proxy.discovery.openapi_v2 import combined
from proxy.discovery.shard import ShardCatalog
from proxy.discovery.view import View
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.natives import hidden

MEMORY = 48 * 2**20
"""Bytes of documents that are kept in each worker."""
APPEARS_WITHIN = 3.0
"""Seconds that a new CRD's schema may take to be published by the shard; 1 as a rule."""
FETCH_TIMEOUT = 60.0


class Schemas:
    """OpenAPI documents of all workspaces of one shard."""

    def __init__(self, shard: ShardCatalog) -> None:
        self._shard = shard
        self._kept: LRUCache[Hashable, Document] = LRUCache(MEMORY, getsizeof=lambda kept: kept.size)
        self._under_way: dict[Hashable, asyncio.Task[Document]] = {}

    @property
    def kept_bytes(self) -> int:
        return int(self._kept.currsize)

    def index(self, token: str, view: View) -> Document:
        """``/openapi/v3``: the group versions, with a hash each that changes with the content."""
        key = ("index", self._state(), view)
        kept = self._kept.get(key)
        if kept is None:
            paths = {
                path_of(group, version): {
                    "serverRelativeURL": f"/openapi/v3/{path_of(group, version)}?hash={self.hash(token, view, group)}"
                }
                for group, version in sorted(view.shown_group_versions())
            }
            kept = document({"paths": paths})
            self._keep(key, kept)
        return kept

    def hash(self, token: str, view: View, group: str) -> str:
        """Changes whenever the documents of a group may have changed."""
        shown = sorted(shown for shown in view.shown if shown[0] == group)
        seed = (shown, self._shard.version.get("gitVersion"), self._shard.crd_digests(token, group))
        return hashlib.sha256(repr(seed).encode()).hexdigest().upper()

    def settled(self, token: str, group: str) -> bool:
        """Whether the shard had time to publish what its CRDs say; before that, nothing may be kept for good."""
        return self._shard.settled(token, group)

    def v3(self, token: str, view: View, group: str, version: str) -> Document | Awaitable[Document]:
        """``/openapi/v3/apis/G/V``; ``group`` plain. Raises StatusError 404 while the shard has not published it."""
        shown = frozenset(shown for shown in view.shown if shown[:2] == (group, version))
        key: Hashable
        if group in NATIVE_GROUPS:
            key = ("v3", path_of(group, version), shown, self._state())
            make = self._native_v3(group, version, shown)
        else:
            # Nothing of the token is left in the document, so all workspaces with the same CRDs share it.
            key = ("v3", path_of(group, version), self._shard.crd_digests(token, group))
            on_shard = {
                shape.shared_group or f"{token}-{group}"
                for shape in view.shapes
                if shape.group == group and shape.established and any(name == version for name, _ in shape.versions)
            }
            make = self._private_v3(sorted(on_shard), token, version)
        return self._once(key, make, keep=self.settled(token, group))

    def v2(self, token: str, view: View, form: str) -> Document | Awaitable[Document]:
        """``/openapi/v2`` as JSON or protobuf."""
        groups = {group for group, _ in view.shown_group_versions()}
        settled = all(self.settled(token, group) for group in groups)
        key = ("v2", form, self._state(), view)
        return self._once(key, lambda: self._make_v2(token, view, form), keep=settled)

    def _state(self) -> Hashable:
        """What documents of a view depend on beside the view."""
        return (self._shard.version.get("gitVersion"), self._shard.crd_digests(""))

    def _once(
        self, key: Hashable, make: Callable[[], Awaitable[Document]], *, keep: bool
    ) -> Document | Awaitable[Document]:
        """The kept document, or the one being made; made but once for all that wait for it."""
        kept = self._kept.get(key)
        if kept is not None:
            return kept
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._make(key, make, keep))
            task.add_done_callback(_look_at)
        return asyncio.shield(task)

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Document]], keep: bool) -> Document:
        try:
            made = await make()
            await asyncio.to_thread(made.compress)
        finally:
            del self._under_way[key]
        if keep:
            self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Document) -> None:
        with contextlib.suppress(ValueError):  # larger than all the memory there is for them
            self._kept[key] = made

    def _native_v3(
        self, group: str, version: str, shown: frozenset[tuple[str, str, str]]
    ) -> Callable[[], Awaitable[Document]]:
        def keep(path: str) -> bool:
            resource = resource_of_path(path)
            if resource is None:
                return path.strip("/") == path_of(group, version)
            return resource in shown and not hidden(group, resource[2], subresource_of_path(path))

        async def make() -> Document:
            spec = await self._fetch(f"/openapi/v3/{path_of(group, version)}")
            return await asyncio.to_thread(lambda: Document(orjson.dumps(filtered(spec, keep))))

        return make

    def _private_v3(self, groups: list[str], token: str, version: str) -> Callable[[], Awaitable[Document]]:
        """``groups``: on the shard, those that are one group to the workspace."""

        async def fetched(group: str) -> Spec:
            deadline = time.monotonic() + APPEARS_WITHIN
            while True:
                try:
                    return await self._fetch(f"/openapi/v3/{path_of(group, version)}")
                except StatusError as error:
                    if error.code != 404 or time.monotonic() > deadline:
                        raise
                await asyncio.sleep(0.1)

        async def make() -> Document:
            specs = await asyncio.gather(*(fetched(group) for group in groups))
            if len(specs) == 1:
                return await asyncio.to_thread(lambda: Document(plain(specs[0], token, groups[0])))
            return await asyncio.to_thread(lambda: Document(orjson.dumps(merged(_plain_specs(specs, token, groups)))))

        return make

    async def _make_v2(self, token: str, view: View, form: str) -> Document:
        if form == OPENAPI_V2_PROTOBUF:
            plain_form = self.v2(token, view, JSON)
            source = plain_form if isinstance(plain_form, Document) else await plain_form
            return await asyncio.to_thread(lambda: Document(encode_document(orjson.loads(source.body)), form))
        bodies = [
            body
            for group, version in view.shown_group_versions()
            if (body := await self._body(token, view, group, version)) is not None
        ]
        major, minor = (str(self._shard.version.get(part, "")) for part in ("major", "minor"))

        def make() -> Document:
            return Document(
                orjson.dumps(combined("Kubernetes", f"{major}.{minor}", (orjson.loads(body) for body in bodies)))
            )

        return await asyncio.to_thread(make)

    async def _body(self, token: str, view: View, group: str, version: str) -> bytes | None:
        found = self.v3(token, view, group, version)
        try:
            return (found if isinstance(found, Document) else await found).body
        except StatusError as error:
            if error.code == 404:
                return None  # a CRD whose schema the shard does not publish must not hide all others
            raise

    async def _fetch(self, path: str) -> Spec:
        spec: Any = await self._shard.client.request("GET", path, accept=JSON, timeout=FETCH_TIMEOUT)
        if not isinstance(spec, dict):
            raise StatusError(502, f"{path}: the shard's answer is not a JSON object")
        return spec


def _plain_specs(specs: Iterable[Spec], token: str, groups: Iterable[str]) -> list[Spec]:
    return [orjson.loads(plain(spec, token, group)) for spec, group in zip(specs, groups, strict=True)]


def _look_at(task: asyncio.Task[Document]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
