"""Of which kinds no workspace of a shard has anything: found out once for all who want to know at the same time.

Most kinds that a shard serves itself are used by few workspaces, if any. Workspaces that end together need not ask for
each of them by themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from proxy.kube.client import METADATA_LIST, Client, Resource
from proxy.kube.errors import StatusError
from proxy.kube.flights import Flights
from proxy.mapping.listing import make_token
from proxy.mapping.token import token_of

EVERY = 0.5
"""Seconds from one look at a kind to the next."""
FEW = 50
"""Objects that are looked at: as many of the shard's own may stand where those of workspaces would."""
BEYOND = "l"
"""What comes behind all tokens."""
KEPT = 60.0
"""Seconds for which a kind that somebody has objects of counts as used: a look at many objects takes its time."""


class Vacancies:
    """Of one shard. ``client`` may list all kinds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._flights: Flights[tuple[Resource, int], bool] = Flights()
        self._begun: Counter[Resource] = Counter()
        """Looks at each kind: what those see that have begun may be too old for who asks now."""
        self._looks: dict[Resource, float] = {}
        """When each kind may be looked at again, by `time.monotonic`."""
        self._used: dict[Resource, float] = {}
        """Until when each counts as used."""

    async def is_vacant(self, resource: Resource) -> bool:
        """Whether nothing was there at a moment after this was asked; False also where that cannot be said. Raises
        StatusError."""
        if self._used.get(resource, 0.0) > time.monotonic():
            return False
        return await self._flights.once((resource, self._begun[resource]), lambda: self._look(resource))

    async def _look(self, resource: Resource) -> bool:
        await asyncio.sleep(max(0.0, self._looks.get(resource, 0.0) - time.monotonic()))
        self._begun[resource] += 1
        self._looks[resource] = time.monotonic() + EVERY
        # Names of workspaces' objects and namespaces begin with their tokens, and those with this letter.
        params: dict[str, str | int | None] = {"limit": FEW, "continue": make_token("k")}
        try:
            page = await self._client.request("GET", resource.path(), params=params, accept=METADATA_LIST)
        except StatusError as error:
            if error.code in (404, 405):  # it is not served any more
                return True
            raise
        places = [item["metadata"].get("namespace") or item["metadata"]["name"] for item in page.get("items") or ()]
        whole = not page["metadata"].get("continue") or places[-1] >= BEYOND
        vacant = whole and not any(map(token_of, places))
        if not vacant:
            self._used[resource] = time.monotonic() + KEPT
        return vacant
