"""Whether a list over all namespaces is better read namespace by namespace (see `proxy.mapping.stretches`): where what
stands behind it on the shard, or is in it, takes more time than to ask for each."""

from __future__ import annotations

import time
from collections.abc import Callable

from cachetools import TTLCache

from proxy.mapping.listing import Listing

A_NAMESPACE = 5000
"""How many objects a kube-apiserver goes through in the time that the list of one more namespace takes. To ask which
there are takes as long as one."""
PAGED = 100
"""How many of one's own objects take as much longer to be cut out of pages than to be passed on as one more namespace
takes."""
SELECTED = 10
"""Namespaces that are read one by one where a selector would make the shard go through all objects of the type; it does
not tell how many these are."""
MOST = 500
"""Namespaces that are read one by one."""
KNOWN = 4096
"""Kinds of objects, and workspaces, of which something is remembered."""
BELIEVED = 600.0
"""Seconds for which it is."""


class Surroundings:
    """Of the lists that one process has put together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._behind: TTLCache[tuple[str, str], int] = TTLCache(KNOWN, BELIEVED, clock)
        """By shard and path: the most objects that were seen behind a page. The first workspace in the order of keys
        has those of all others behind it."""
        self._crowded: TTLCache[str, int] = TTLCache(KNOWN, BELIEVED, clock)
        """By token: more namespaces than so many."""

    def namespaces(self, listing: Listing, shard: str, expected: int | None) -> int:
        """How many, at most, are to be read one by one; 0 where the workspace has more. ``expected``: objects in the
        list, if that is known."""
        if not listing.in_namespaces:
            return 0
        saved = self._behind.get((shard, listing.path), 0) // A_NAMESPACE
        if not listing.limit:
            saved += (expected or 0) // PAGED
        most = min(max(saved - 1, SELECTED if listing.selected else 0), MOST)
        return most if most > self._crowded.get(listing.token, 0) else 0

    def passed(self, listing: Listing, shard: str, behind: int) -> None:
        """A page has made the shard go through so many objects behind it."""
        kind = (shard, listing.path)
        if listing.in_namespaces and behind > self._behind.get(kind, 0):
            self._behind[kind] = behind

    def crowded(self, listing: Listing, most: int) -> None:
        """The workspace has more than ``most`` namespaces."""
        self._crowded[listing.token] = most
