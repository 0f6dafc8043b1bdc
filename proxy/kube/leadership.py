"""One at a time does the work: the one that holds a Lease.

As with client-go's leader election, nobody's clock is believed: a Lease has ended when it was not seen to change for as
long as it is good for.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Coroutine

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)

LEASES = Resource("coordination.k8s.io", "v1", "leases")
DURATION = 15.0
"""Seconds."""


def process_identity() -> str:
    """Who this process is, on whatever machine, and not the one of that number before it."""
    return f"{socket.gethostname()}_{os.getpid()}_{secrets.token_hex(4)}"


class Leadership:
    """Of what holds Lease ``name`` in ``namespace`` of the server of ``client``."""

    def __init__(
        self,
        client: Client,
        *,
        namespace: str,
        name: str,
        identity: str,
        work: str,
        steps_down: bool,
        duration: float = DURATION,
        leads: Callable[[float], object] = lambda value: None,
        knows: Callable[[float], object] = lambda value: None,
        explain: Callable[[StatusError], str] = str,
    ) -> None:
        """``work`` names what is done, in log lines. ``steps_down``: a leader that cannot renew the Lease in time
        stops, as with client-go; else it stays one until it learns of another, which is for work that needs the same
        server anyway. ``leads(1)`` or ``leads(0)`` is called when that changes, ``knows(1)`` or ``knows(0)`` after
        each look at the Lease, which may fail; ``explain`` words what keeps the Lease from being taken."""
        self._client = client
        self._work = work
        self._steps_down = steps_down
        self._explain = explain
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._duration = duration
        self._leads = leads
        self._knows = knows
        self._seen: tuple[str, float] = ("", 0.0)
        """Version of the Lease as somebody else holds it, and when that was first seen."""
        self._mine: Object | None = None
        """The Lease as it was written here last."""

    async def run(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do ``work`` while leading, until cancelled."""
        while True:
            self._leads(0)
            await self._until(True)
            log.info("%s: leading", self._work)
            self._leads(1)
            try:
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(work())
                    await self._until(False)
                    running.cancel()
            except asyncio.CancelledError:
                await self._give_up()
                raise
            log.warning("%s: not leading any more", self._work)

    async def _until(self, leading: bool) -> None:
        """Take the Lease again and again, until this one leads, or does not."""
        complaint = ""
        renewed = time.monotonic()
        while True:
            if not leading:
                await asyncio.sleep(self._duration / 6 if complaint else self._duration / 3)
            began = time.monotonic()
            try:
                async with asyncio.timeout(max(self._duration / 3, 3.0)):
                    leads = await self._take()
                self._knows(1)
                if leads is leading:
                    return
                complaint, renewed = "", began
            except TimeoutError:
                complaint = self._complain(complaint, "no answer in time")
            except StatusError as error:
                if error.code == 409:
                    self._mine = None  # somebody else wrote it
                else:
                    complaint = self._complain(complaint, self._explain(error))
            if not leading and self._steps_down and time.monotonic() - renewed > self._duration * 2 / 3:
                self._mine = None
                return
            if leading:
                await asyncio.sleep(self._duration / 6)

    def _complain(self, before: str, now: str) -> str:
        self._knows(0)
        if now != before:
            log.error("%s: %s", self._work, now)
        return now

    async def _take(self) -> bool:
        """Take or renew the Lease; False where another holds it."""
        lease = self._mine
        if lease is None:
            lease = await self._look()
            spec = lease.get("spec") or {}
            holder = spec.get("holderIdentity") or ""
            if holder not in ("", self._identity) and not self._has_ended(lease["metadata"], spec, holder):
                return False
        if lease.get("metadata"):
            self._mine = await self._client.replace(LEASES, self._lease(lease))
        else:
            self._mine = await self._client.create(LEASES, self._lease(lease), self._namespace)
        self._seen = ("", 0.0)
        return True

    async def _look(self) -> Object:
        try:
            return await self._client.get(LEASES, self._name, self._namespace)
        except StatusError as error:
            # Any other 404 is about the workspace.
            if error.code != 404 or error.details.get("kind") != "leases":
                raise
            return {}

    def _has_ended(self, meta: Object, spec: Object, holder: str) -> bool:
        version = str(meta["resourceVersion"])
        if self._seen[0] != version:
            if not self._seen[0]:
                log.warning("%s: done by %s; waiting for its end", self._work, holder)
            self._seen = (version, time.monotonic())
        return time.monotonic() - self._seen[1] >= float(spec.get("leaseDurationSeconds") or self._duration)

    async def _give_up(self) -> None:
        """So that the next one need not wait."""
        with contextlib.suppress(StatusError, TimeoutError, KeyError):
            async with asyncio.timeout(2):
                lease = await self._client.get(LEASES, self._name, self._namespace)
                if lease["spec"].get("holderIdentity") == self._identity:
                    lease["spec"]["holderIdentity"] = ""
                    await self._client.replace(LEASES, lease)

    def _lease(self, before: Object) -> Object:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = before.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        meta = before.get("metadata") or {"name": self._name, "namespace": self._namespace}
        return {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": meta,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(int(self._duration), 1),
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if mine else 1),
            },
        }
