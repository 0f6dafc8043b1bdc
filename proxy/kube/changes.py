"""What happens to objects of one resource from now on, told as it happens. None of them is kept: for those who can look
again, and want to know when.

As `proxy.kube.informer` it goes on where it was when a watch ends, and begins anew where the server has forgotten, or
has not come to, what was told last.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from proxy.kube.client import METADATA, METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)


class Changes:
    """``happened`` gets each event; ``begun`` is called when events are told from then on, and nothing is known of what
    was before."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        *,
        happened: Callable[[Object], None],
        begun: Callable[[], None],
        metadata_only: bool = False,
    ) -> None:
        self.resource = resource
        self.selector: str | None = None
        """Of labels. Another one counts from the next `run` on, which goes on where the last one was."""
        self._client = client
        self._happened = happened
        self._begun = begun
        self._metadata_only = metadata_only
        self._version: str | None = None
        """To which it has been told."""
        self._broken = False
        self._failures = 0

    @property
    def known(self) -> bool:
        """Whether all is told that happens from now on, however late: `begun` was called, and will be again where
        something has been missed."""
        return self._version is not None

    async def run(self) -> None:
        """Until cancelled. Errors are logged and retried, 0.1 s to 10 s apart, with jitter."""
        while True:
            try:
                if self._version is not None and self._broken and _number(await self._now()) < _number(self._version):
                    self._version = None  # the server was restored, and would say nothing until it is there
                if self._version is None:
                    self._version = await self._now()
                    self._begun()
                self._broken = False
                await self._follow(self._version)
            except StatusError as error:
                self._broken = True
                if error.code in (403, 404, 410) or error.reason in ("Expired", "Gone"):
                    self._version = None
                if error.code == 410:
                    continue
                self._failures += 1
                level = logging.WARNING if self._failures in (3, 10) or self._failures % 100 == 0 else logging.DEBUG
                log.log(level, "%s: %s", self.resource.plural, error)
                await asyncio.sleep(min(0.1 * 2 ** min(self._failures, 10), 10.0) * random.uniform(0.5, 1.0))

    async def _now(self) -> str:
        page = await self._client.request("GET", self.resource.path(), params={"limit": 1}, accept=METADATA_LIST)
        return str(page["metadata"]["resourceVersion"])

    async def _follow(self, version: str) -> None:
        async for event in self._client.watch(
            self.resource,
            resource_version=version,
            label_selector=self.selector,
            accept=METADATA if self._metadata_only else None,
            timeout=random.randint(300, 600),
        ):
            self._failures = 0
            obj = event["object"]
            if event["type"] != "BOOKMARK":
                try:
                    self._happened(event)
                except Exception:
                    log.exception("%s: a handler failed", self.resource.plural)
            self._version = str(obj["metadata"].get("resourceVersion") or self._version)


def _number(version: str) -> int:
    """Versions are numbers that grow."""
    return int(version) if version.isdecimal() else 0
