"""A list's items out of an answer that comes piece by piece, so that a list can be passed on before it is all there.

A kube-apiserver writes ``{"kind":…,"apiVersion":…,"metadata":{…},"items":[…]}`` and a line break, tables likewise with
``rows``; lists of custom resources end with kind and metadata instead, and are looked at when they are whole.
"""

from __future__ import annotations

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Page, join_items, split_page

_BEGINS = (b'"items":[', b'"rows":[')
"""A quote inside of a string is escaped, so that no string can hold these."""
_END = b"]}"
_LONGEST_END = len(_END) + 1


class Items:
    """Of one answer about a list of the workspace's own objects alone. Raises StatusError 500 for what is no list."""

    __slots__ = ("_kept", "_token", "_whole", "page")

    def __init__(self, token: str) -> None:
        self._token = token
        self._kept: list[bytes] = []
        self._whole = False
        """Whether it is known to be looked at when it is all there."""
        self.page: Page | None = None
        """What the answer is a list of, as soon as that is known; its items are not in it."""

    def feed(self, data: bytes) -> bytes:
        """What there is more of items, with the commas between them; still with prefix and label."""
        if self.page is None:
            self._kept.append(data)
            return b"" if self._whole else self._begin()
        data = self._kept.pop() + data
        self._kept.append(data[-_LONGEST_END:])
        return data[:-_LONGEST_END]

    def _begin(self) -> bytes:
        data = b"".join(self._kept)
        self._kept = [data]
        for begins in _BEGINS:
            at = data.find(begins)
            if at >= 0:
                break
        else:
            return b""
        begin = at + len(begins)
        try:
            page = split_page(data[:begin] + _END, self._token, selected=True)
        except StatusError:
            page = None
        if page is None or not page.resource_version:
            self._whole = True
            return b""
        self.page = page
        self._kept = [b""]
        return self.feed(data[begin:])

    def flush(self) -> bytes:
        """The same at the end."""
        data = b"".join(self._kept)
        self._kept = []
        if self.page is not None:
            rest = data.removesuffix(b"\n")
            if not rest.endswith(_END):
                raise StatusError(500, "a list from the shard ends too early")
            return rest.removesuffix(_END)
        page = split_page(data, self._token, selected=True)
        items = join_items(page.items, self._token)
        page.items = []
        self.page = page
        return items
