"""What a watch asks for beside what it is about, and what its lines say: what must be known to let watches share one.

Of a line nothing is read but its type and the version of its object, by a decoder that skips the rest: wherever else
in an object something looks like a version, it is not taken for it.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

_ABOUT = frozenset({"watch", "labelSelector", "fieldSelector", "pretty"})
_TERMS = frozenset(
    {"resourceVersion", "resourceVersionMatch", "sendInitialEvents", "allowWatchBookmarks", "timeoutSeconds"}
)
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_PRETIMEOUT = 60
"""A watch with bookmarks that ends within as many seconds hears from the shard how far it came two seconds before its
end. Others get a bookmark each minute (``k8s.io/apiserver``, ``cacheWatcher.nextBookmarkTime``)."""
_STATE = "resourceVersion=%s&resourceVersionMatch=NotOlderThan&sendInitialEvents=true&allowWatchBookmarks=true"


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one watch."""

    subject: bytes
    """Target without what follows here: watches with the same one are about the same."""
    version: int | None
    """All that is younger is told; None: the state as it is comes first, as events."""
    state: bytes
    """Target of a watch that begins with the state, and says where that ends; empty if none was asked for."""
    asked: bool
    """Whether the client has asked for it in these words (``sendInitialEvents``), not by giving no version: where
    WatchList is on, the answer is the same (``k8s.io/apimachinery``, ``SetListOptionsDefaults``)."""
    bookmarks: bool
    timeout: int
    """Seconds; 0: as long as the server likes."""

    def after(self, version: int) -> bytes:
        """Target of a watch of the same from that version on, with bookmarks."""
        return b"%b&resourceVersion=%d&allowWatchBookmarks=true" % (self.subject, version)


def terms_of(target: bytes) -> Terms | None:
    """Of a mapped watch's target; None where only the shard knows what it makes of such a request."""
    path, _, text = target.decode("latin-1").partition("?")
    query = urllib.parse.parse_qsl(text, keep_blank_values=True)
    given = dict(query)
    if len(given) != len(query) or not given.keys() <= _ABOUT | _TERMS:
        return None
    version, timeout = given.get("resourceVersion", ""), given.get("timeoutSeconds", "0")
    bookmarks = _FLAGS.get(given.get("allowWatchBookmarks", "0"))
    if not (_is_number(version or "0") and _is_number(timeout)) or bookmarks is None:
        return None
    if bookmarks and 0 < int(timeout) < _PRETIMEOUT:
        return None
    asked = "sendInitialEvents" in given
    if asked:
        if given["sendInitialEvents"] not in ("1", "true") or not bookmarks:
            return None
        if given.get("resourceVersionMatch") != "NotOlderThan":
            return None
    elif "resourceVersionMatch" in given:
        return None
    about = urllib.parse.urlencode([(key, value) for key, value in query if key in _ABOUT])
    subject = f"{path}?{about}"
    if version != "0" and version.startswith("0"):
        return None
    begins = asked or version in ("", "0")
    state = f"{subject}&{_STATE % version}" if begins else ""
    return Terms(
        subject.encode("latin-1"), None if begins else int(version), state.encode("latin-1"), asked, bookmarks,
        int(timeout),
    )  # fmt: skip


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


class Line(NamedTuple):
    """One event."""

    version: int
    """Of the object; of the state, in a bookmark. 0 in an error."""
    text: bytes
    bookmark: bool = False
    error: bool = False


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str


class _Object(msgspec.Struct):
    metadata: _Meta


class _Event(msgspec.Struct):
    type: str
    object: _Object


class _Notes(msgspec.Struct):
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class _Noted(msgspec.Struct):
    metadata: _Notes


class _Bookmark(msgspec.Struct):
    object: _Noted


_event = msgspec.json.Decoder(_Event)
_bookmark = msgspec.json.Decoder(_Bookmark)
_KINDS = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})
_ERROR = b'{"type":"ERROR",'
_BOOKMARK = b'{"type":"BOOKMARK",'
_ENDS = "k8s.io/initial-events-end"


def read(text: bytes) -> Line:
    """A whole line, with its line break. Raises ValueError for what is no event with a version."""
    if not text.endswith(b"}\n"):
        raise ValueError("not a line of a watch")
    if text.startswith(_ERROR):
        return Line(0, text, error=True)
    try:
        event = _event.decode(text)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not an event: {error}") from error
    version = event.object.metadata.resource_version
    if event.type not in _KINDS or not _is_number(version):
        raise ValueError(f"an event of type {event.type} with version {version!r}")
    return Line(int(version), text, event.type == "BOOKMARK")


def ends_state(text: bytes) -> bool:
    """Whether the line, with its line break, says that the state was told whole."""
    if not text.startswith(_BOOKMARK):
        return False
    return _bookmark.decode(text).object.metadata.annotations.get(_ENDS) == "true"


class Lines:
    """Whole lines out of pieces. An unfinished line stays in pieces, as it may have megabytes."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        """Those that are whole now, each with its line break."""
        end = data.rfind(b"\n") + 1
        if not end:
            if data:
                self._held.append(data)
            return []
        whole, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
        if self._held:
            whole = b"".join([*self._held, whole])
            self._held.clear()
        if rest:
            self._held.append(rest)
        if whole.count(b"\n") == 1:
            return [whole]
        return [b"%b\n" % line for line in whole[:-1].split(b"\n")]
