"""How far what a shard says of rights can be relied on, and for how long."""

from __future__ import annotations

import logging
import time

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.kube.flights import Flights
from proxy.kube.readiness import LOADED

log = logging.getLogger(__name__)

RBAC = tuple(
    Resource("rbac.authorization.k8s.io", "v1", plural, plural.startswith("role"))
    for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
)

GOOD_FOR = 60.0
"""Seconds that an answer counts; changes drop it at once, this is for what no watch can tell."""
UNWATCHED = 2.0
"""The same while the watch of a shard's RBAC objects is broken."""
SETTLING = 0.2
"""The same right after a change: the shard's own RBAC caches may not have seen it yet."""


class FollowedShard:
    """One whose RBAC objects are watched; ``client`` acts as who may do so."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self.client = client
        self.since = 0.0
        """When a watch was last taken up, not knowing what had happened before, or broke (monotonic seconds)."""
        self._up = 0
        self._loaded = False
        self._checks: Flights[str, None] = Flights()

    @property
    def _whole(self) -> bool:
        return self._up == len(RBAC)

    def connected(self, up: bool) -> None:
        """The watch of one of the `RBAC` kinds was taken up, or broke."""
        self._up += 1 if up else -1
        self._loaded = self._loaded and up
        self.since = time.monotonic()

    def until(self, asked: float, began: float) -> float:
        """How long what the shard said when it was ``asked`` is good, after a change when it ``began`` (monotonic
        seconds, all of them).

        Shortly after a change its own caches may lag behind, so an answer counts for as long as the change is ago.
        """
        return asked + min(GOOD_FOR if self._whole else UNWATCHED, max(SETTLING, asked - began))

    async def wait_loaded(self) -> None:
        """Before it is asked for rights: one that starts answers as if the objects did not exist that it has not read
        yet, which would be taken for a refusal. Raises StatusError 503 for such a one.

        It cannot have started anew while all watches last.
        """
        if not self._loaded:
            await self._checks.once("", self._check)

    async def _check(self) -> None:
        since = self.since
        try:
            await self.client.request("GET", LOADED)
        except StatusError as error:
            if error.code != 404:  # no kube-apiserver, or one that loads nothing
                log.warning("shard %s: %s", self.name, error)
                what = "does not know all rights yet" if error.code in (403, 500) else "does not answer"
                why = f"shard {self.name} is not available: it {what}"
                raise StatusError(503, why, details={"retryAfterSeconds": 1}) from error
        self._loaded = self._whole and self.since == since
