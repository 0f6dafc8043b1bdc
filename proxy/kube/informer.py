"""List and watch with resume: a local picture of one resource that converges by itself.

Follows the reflector of client-go: list, watch from the list's version, resume from the last version seen when the
watch ends, list again only when the server says that version is gone (410), or has not come to it: it was restored from
a backup, and would say nothing until it is there.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from proxy.kube.client import METADATA, METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)

CACHED_WITHIN = 30.0
"""Seconds until objects are listed although the server has not cached them."""
CACHE_POLL = 0.05

Handler = Callable[[str, Object | None, Object], None]
Transform = Callable[[Object], Object]


def without_managed_fields(obj: Object) -> Object:
    """A transform: they are most of a small object, and few ask for them."""
    obj["metadata"].pop("managedFields", None)
    return obj


class Informer:
    """``store`` maps ``(namespace or "", name)`` to the latest object, ``transform``\\ ed to save memory.

    Handlers are plain functions ``(type, old, new)``, called in order: ADDED (old is None), MODIFIED, DELETED (old is
    the last one stored, new the final state if the server sent it). A relist reports only what has changed.
    """

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        namespace: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        transform: Transform | None = None,
        metadata_only: bool = False,
        many: bool = False,
        reconnected: Callable[[], None] | None = None,
    ) -> None:
        """``many``: whether there may be thousands, which a server that starts should read but once; ``reconnected`` is
        called when the server answers again after it did not."""
        self.resource = resource
        self.store: dict[tuple[str, str], Object] = {}
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._transform = transform
        self._metadata_only = metadata_only
        self._many = many
        self._reconnected = reconnected
        self._handlers: list[Handler] = []
        self._versions: dict[tuple[str, str], str] = {}
        self._version: str | None = None
        """That the watch has come to; None before a list."""
        self._synced = asyncio.Event()
        self.connected = False
        """Whether a watch is open now; False while the server cannot be reached."""

    def add_handler(self, handler: Handler) -> None:
        self._handlers.append(handler)
        for obj in list(self.store.values()):
            handler("ADDED", None, obj)

    @property
    def synced(self) -> bool:
        """Whether the first list is in."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the resource until cancelled. Errors are logged and retried, 0.1 s to 10 s apart, with jitter."""
        self._version = None
        failures = 0
        broken = False
        while True:
            try:
                if self._version is not None and broken and not await self._has_come_to(self._version):
                    log.warning("%s: the server has gone back behind %s", self.resource.plural, self._version)
                    self._versions.clear()
                    self._version = None
                if self._version is None:
                    if self._many:
                        await self._await_cache()
                    self._version = await self._relist()
                    failures = 0
                if broken and self._reconnected is not None:
                    self._reconnected()
                broken = False
                async for event in self._watch(self._version):
                    failures = 0
                    self._take(event)
                self.connected = False
            except StatusError as error:
                self.connected = False
                broken = True
                if error.code == 410 or error.reason in ("Expired", "Gone"):
                    self._version = None
                    continue
                if error.code in (404, 403):
                    self._version = None
                failures += 1
                level = logging.WARNING if failures in (1, 10) or failures % 100 == 0 else logging.DEBUG
                log.log(level, "%s: %s", self.resource.plural, error)
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 10), 10.0) * random.uniform(0.5, 1.0))

    async def _await_cache(self) -> None:
        """Until the server has them in its watch cache: the pages of a list that is asked for earlier it reads from
        etcd and decodes, for each who asks, and that takes as long as filling the cache
        (https://kep.k8s.io/4568). What only the cache answers gets 429 until then."""
        params = {"resourceVersion": "0", "fieldSelector": "metadata.name=none"}
        with suppress(TimeoutError):
            async with asyncio.timeout(CACHED_WITHIN):
                while True:
                    try:
                        await self._client.request("GET", self.resource.path(self._namespace), params=params)
                    except StatusError as error:
                        if error.code != 429:
                            raise
                        await asyncio.sleep(CACHE_POLL)
                    else:
                        return

    async def _has_come_to(self, version: str) -> bool:
        """Whether the server knows of a version that it gave out before its connection broke."""
        page = await self._client.request(
            "GET",
            self.resource.path(self._namespace),
            params={"limit": 1, "labelSelector": self._label_selector, "fieldSelector": self._field_selector},
            accept=METADATA_LIST,
        )
        now = str(page["metadata"].get("resourceVersion") or "")
        return not _newer(version, now)

    def _watch(self, version: str) -> AsyncIterator[Object]:
        self.connected = True
        return self._client.watch(
            self.resource,
            self._namespace,
            resource_version=version,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            accept=METADATA if self._metadata_only else None,
            # As in client-go: watches that began together do not end together.
            timeout=random.randint(300, 600),
        )

    async def _relist(self) -> str:
        seen: set[tuple[str, str]] = set()
        version = ""
        # Page by page: objects may be large, and what is kept of them small.
        async for page in self._client.pages(
            self.resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            accept=METADATA_LIST if self._metadata_only else None,
        ):
            version = str(page["metadata"]["resourceVersion"])
            for obj in page["items"]:
                key = _key(obj)
                seen.add(key)
                if self._versions.get(key) != obj["metadata"].get("resourceVersion"):
                    self._store(key, obj)
        for key in [key for key in self.store if key not in seen]:
            self._remove(key, None)
        self._synced.set()
        return version

    def saw(self, obj: Object) -> Object:
        """Take an object as the answer to a write of ours shows it, before its event comes, which is no news then;
        what would be kept of it.

        Nothing is taken where the watch has come further: there it may have been changed again, or deleted, since.
        """
        kept = self._transform(obj) if self._transform else obj
        if _newer(obj["metadata"].get("resourceVersion"), self._version):
            self._put(_key(obj), obj, kept)
        return kept

    def _take(self, event: Object) -> None:
        """Apply one event."""
        obj: Object = event["object"]
        self._version = version = str(obj["metadata"].get("resourceVersion") or self._version)
        if event["type"] == "BOOKMARK":
            return
        key = _key(obj)
        known = self._versions.get(key)
        if event["type"] == "DELETED":
            # Of the version known, where our own write has made it one that is not selected.
            if not _newer(known, version):
                self._remove(key, obj)
        elif known != version and not _newer(known, version):
            self._store(key, obj)

    def _store(self, key: tuple[str, str], obj: Object) -> None:
        self._put(key, obj, self._transform(obj) if self._transform else obj)

    def _put(self, key: tuple[str, str], obj: Object, kept: Object) -> None:
        self._versions[key] = obj["metadata"].get("resourceVersion", "")
        old = self.store.get(key)
        self.store[key] = kept
        self._notify("ADDED" if old is None else "MODIFIED", old, kept)

    def _remove(self, key: tuple[str, str], final: Object | None) -> None:
        self._versions.pop(key, None)
        old = self.store.pop(key, None)
        if old is not None:
            last = old if final is None else (self._transform(final) if self._transform else final)
            self._notify("DELETED", old, last)

    def _notify(self, kind: str, old: Object | None, new: Object) -> None:
        for handler in self._handlers:
            try:
                handler(kind, old, new)
            except Exception:
                log.exception("%s: a handler failed", self.resource.plural)


def _newer(one: str | None, other: str | None) -> bool:
    """Versions are numbers that grow (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions);
    those that are not say nothing."""
    return one is not None and other is not None and one.isdecimal() and other.isdecimal() and int(one) > int(other)


def _key(obj: Object) -> tuple[str, str]:
    meta = obj["metadata"]
    return (meta.get("namespace") or "", meta["name"])
