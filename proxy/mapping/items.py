"""A list's items out of an answer that comes piece by piece, so that a list can be passed on before it is all there.

A kube-apiserver writes ``{"kind":…,"apiVersion":…,"metadata":{…},"items":[…]}`` and a line break, tables likewise with
``rows``; in a list of custom resources ``,"kind":…,"metadata":{…}}`` comes behind the items.
"""

from __future__ import annotations

from proxy.kube.errors import StatusError

_BEGINS = (b'"items":[', b'"rows":[')
"""A quote inside of a string is escaped, so that no string can hold these."""
_END = b"]}"
_CUSTOM_END = b'],"kind":"'
_LONGEST_END = 1024
"""Bytes behind the items: kind and metadata, if these come last."""


class Items:
    """Of one answer. Raises StatusError 500 for one that is not whole."""

    __slots__ = ("_custom", "_kept", "beginning", "ending")

    def __init__(self) -> None:
        self._kept = b""
        self._custom = False
        self.beginning = b""
        """Of the answer, up to the first item; all of it where there is no array of items."""
        self.ending = b""
        """From behind the last item on; nothing where there is no array of items."""

    def feed(self, data: bytes) -> bytes:
        """What there is more of items, with the commas between them."""
        if not self.beginning:
            data = self._kept + data
            at = min((data.find(begins) + len(begins) for begins in _BEGINS if begins in data), default=0)
            if not at:
                self._kept = data
                return b""
            self.beginning = data[:at]
            self._custom = b'"metadata":' not in self.beginning
            self._kept, data = b"", data[at:]
        keep = _LONGEST_END if self._custom else len(_END) + 1
        if len(data) < keep:
            data, self._kept = self._kept + data, b""
        kept, self._kept = self._kept, data[-keep:]
        return b"".join((kept, memoryview(data)[:-keep]))

    def flush(self) -> bytes:
        """The same at the end."""
        data, self._kept = self._kept, b""
        if not self.beginning:
            self.beginning = data
            return b""
        at = data.rfind(_CUSTOM_END if self._custom else _END)
        if at < 0 or not data.endswith((b"}", b"}\n")):
            raise StatusError(500, "a list from the shard ends too early")
        self.ending = data[at:]
        return data[:at]
