"""How large the pages are from which a list is put together (see `proxy.mapping.listing`).

What a page reads beyond the workspace's own is wasted, and so is another request for what it did not reach. Most lists
are as long as they were the last time; of others, each page is larger than the one before.
"""

from __future__ import annotations

from cachetools import LRUCache

from proxy.mapping.listing import Listing

SMALLEST, FIRST, LARGEST = 8, 50, 501
"""Objects in a page: where next to nothing is expected, where nothing is known, and at most: a whole list of a client
that wants 500 at a time, and the one more that tells whether it goes on. On a kube-apiserver a page of 50 objects of
1 KiB takes 1.7 ms, one of 500 takes 8 ms."""
GROWTH = 4
KNOWN = 4096
"""Lists whose lengths are remembered."""


class Lengths:
    """Of the lists that one process has put together."""

    def __init__(self) -> None:
        # By hash: a client decides how long a query is. Two lists with one hash have pages of odd sizes.
        self._known: LRUCache[int, int] = LRUCache(KNOWN)

    def pages(self, listing: Listing) -> Pages:
        """For a list that is made now."""
        key = hash((listing.token, listing.path, listing.query))
        part = listing.continued or listing.selected
        return Pages(self._known, key, None if part else self._known.get(key), part)


class Pages:
    """Of one list."""

    def __init__(self, known: LRUCache[int, int], key: int, expected: int | None, part: bool) -> None:
        self._known = known
        self._key = key
        self.expected = expected
        """Objects, as the last time; None where nothing is known."""
        self._part = part
        self._size = 0

    def size(self, got: int) -> int:
        """Of the next page, where ``got`` objects are there already."""
        left = 0 if self.expected is None else self.expected - got
        if left > 0 or (self.expected == 0 and not self._size):
            size = max(left + left // 8 + 2, SMALLEST)  # some may have come
        else:
            size = max(self._size * GROWTH, FIRST)
        self._size = min(size, LARGEST)
        return self._size

    def learn(self, count: int) -> None:
        """The list has so many objects, or more than its client wanted."""
        if not self._part:
            self._known[self._key] = count
