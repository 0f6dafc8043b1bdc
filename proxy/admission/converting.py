"""Where shards reach conversion webhooks of workspaces: by the proxy (`proxy.mapping.detours`), and kept so.

What a shard knows of the proxy changes: its address, its authorities, the key. CRDs that were written before are
brought up to date by whatever worker comes to it first; meanwhile it is what stands in them that is believed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Mapping

from proxy.auth.identity import EXTRA_HEADER
from proxy.discovery import Discovery
from proxy.identities import Identity
from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.detours import EXTRA, Converter, Detour
from proxy.tenancy.asked import read_detour

log = logging.getLogger(__name__)

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
GOOD_FOR = 10.0
"""Seconds that a worker relies on what a shard knew."""
LOOK_EVERY = 20.0
"""Seconds between looks at whether CRDs are up to date."""
MERGE = "application/merge-patch+json"


class Detours:
    """Of one worker."""

    def __init__(self, shards: Mapping[str, Client], *, new: bool = True) -> None:
        """``shards`` are those that ask the proxy; ``new``: whether CRDs may be written that have webhooks. Those that
        have some already go on in any case: what is stored cannot be read without them."""
        self._shards = Identity.ADMISSION.on_all(shards)
        self._new = new
        self._known: dict[str, tuple[Detour | None, float]] = {}

    def for_writing(self, shard: str) -> Detour | Awaitable[Detour | None] | None:
        """`of`, where CRDs may have webhooks at all."""
        return self.of(shard) if self._new else None

    def of(self, shard: str) -> Detour | Awaitable[Detour | None] | None:
        """None where it does not know where the proxy is; StatusError is raised where that cannot be read."""
        if shard not in self._shards:
            return None
        known = self._known.get(shard)
        return known[0] if known is not None and time.monotonic() < known[1] else self.read(shard)

    async def read(self, shard: str) -> Detour | None:
        detour = await read_detour(self._shards[shard])
        self._known[shard] = detour, time.monotonic() + GOOD_FOR
        return detour

    async def keep(self, discovery: Discovery) -> None:
        """CRDs up to date, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY * random.uniform(0.5, 1.5))
            for shard in self._shards:
                try:
                    await self._renew(shard, discovery.converters(shard))
                except StatusError as error:
                    log.info("shard %s: conversion webhooks: %s", shard, error.message)

    async def _renew(self, shard: str, converters: Mapping[str, Converter]) -> None:
        detour = await self.read(shard) if converters else None
        if detour is None:
            return
        for name, converter in list(converters.items()):
            if converter != converter.on(detour):
                await renew(self._shards[shard], name, detour)


async def renew(client: Client, name: str, detour: Detour) -> None:
    """Bring a CRD up to date: a policy of the shard writes what is told, so that nobody else becomes the fields'
    manager. Raises StatusError."""
    crd = await client.find(CRDS, name)
    converter = Converter.of(crd) if crd is not None else None
    if crd is None or converter is None:
        return
    wanted = converter.on(detour)
    headers = [(EXTRA_HEADER.decode() + EXTRA, value) for value in (wanted.bundle, wanted.url)]
    only_then = {"metadata": {"resourceVersion": crd["metadata"]["resourceVersion"]}}
    try:
        await client.request("PATCH", CRDS.path(name=name), body=only_then, content_type=MERGE, headers=headers)
    except StatusError as error:
        if error.code not in (404, 409):
            raise
