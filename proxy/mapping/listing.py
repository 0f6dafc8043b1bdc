"""LIST over all namespaces or of cluster-scoped objects, at a cost that depends on the workspace alone.

Keys in etcd are ordered, so everything of one workspace stands together. A continue token made here starts a page at
the workspace's first key; the page ends where the names no longer carry the prefix. What a page reads beyond that
belongs to others and is cut off here, before anything else sees it.

Continue tokens: ``k8s.io/apiserver/pkg/storage/continue.go`` (base64url, no padding, of ``{"v","rv","start"}``;
rv -1 means the latest version).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import msgspec
import orjson
from stringzilla import count

from proxy.kube.errors import StatusError
from proxy.mapping.stream import strip_bytes
from proxy.mapping.token import LABEL

LATEST = -1


@dataclass(frozen=True, slots=True)
class Listing:
    """How one LIST is to be put together; ``target`` of each page by `page_query`."""

    path: str
    query: tuple[tuple[str, str], ...]
    """Parameters that every page carries."""
    limit: int
    """Objects that the client wants at most; 0 for all."""
    start: str
    """Continue token of the first page; empty where it begins at the beginning."""
    token: str
    not_older_than: int = 0
    """Resource version that the client has seen."""
    continued: bool = False
    """Whether the first page begins where the client said: the shard has the right words if it is not there."""
    custom: bool = False
    """Whether it is of custom resources, whose lists always say where they go on."""
    selected: bool = False
    """Whether its query selects the workspace's own; then there is one page, of ``limit`` and one more."""
    in_namespaces: bool = False
    """Whether it is of objects in namespaces that stand among those of other workspaces."""

    def check_version(self, current: str) -> None:
        """Raises StatusError 504 if the client has seen a later one, as
        ``k8s.io/apiserver/pkg/storage.NewTooLargeResourceVersionError``."""
        if not current.isdigit() or int(current) >= self.not_older_than:
            return
        raise StatusError(
            504,
            f"Timeout: Too large resource version: {self.not_older_than}, current: {current}",
            details={
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
        )


class _Meta(
    msgspec.Struct,
    rename={"resource_version": "resourceVersion", "continue_": "continue", "remaining": "remainingItemCount"},
):
    resource_version: str = ""
    continue_: str = ""
    remaining: int = 0


class _Envelope(msgspec.Struct, rename={"api_version": "apiVersion", "columns": "columnDefinitions"}):
    kind: str = ""
    api_version: str = ""
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None
    columns: msgspec.Raw = msgspec.Raw(b"")
    rows: list[msgspec.Raw] | None = None


class _Named(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Item(msgspec.Struct):
    metadata: _Named = msgspec.field(default_factory=_Named)


class _Row(msgspec.Struct):
    object: _Item = msgspec.field(default_factory=_Item)


_envelope = msgspec.json.Decoder(_Envelope)
_item = msgspec.json.Decoder(_Item)
_row = msgspec.json.Decoder(_Row)


@dataclass(slots=True)
class Page:
    """The workspace's own part of one page of a list or Table."""

    head: bytes
    """Everything up to the metadata; plain."""
    resource_version: str
    next: str
    """Continue token of the next page, empty where the workspace ends."""
    between: bytes
    """From behind the metadata up to the first item; plain."""
    items: list[msgspec.Raw]
    """Still with prefix and label."""
    rows: bool
    """Whether they are those of a Table."""
    behind: int = 0
    """Objects that the shard has gone through behind the page, whosever they are."""

    def names(self) -> list[str]:
        """Of its items, as the shard knows them. Raises StatusError 500."""
        try:
            return [_metadata(item, self.rows).name for item in self.items]
        except msgspec.MsgspecError as error:
            raise _unreadable(error) from error

    def cut(self, limit: int) -> str:
        """Leave ``limit`` items, if there are more; the continue token of what follows them then, else empty. Raises
        StatusError 500."""
        if len(self.items) <= limit:
            return ""
        del self.items[limit:]
        try:
            meta = _metadata(self.items[-1], self.rows)
            key = f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name
            return make_token(f"{key}\0", int(self.resource_version))
        except (msgspec.MsgspecError, ValueError) as error:
            raise _unreadable(error) from error


def make_token(start: str, version: int = LATEST) -> str:
    """``start``: the first key, or what it begins with."""
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def read_token(token: str) -> tuple[str, int]:
    """First key and version of what `make_token` or `check_token` has made."""
    decoded = orjson.loads(_bytes_of(token))
    return decoded["start"], decoded["rv"]


def _bytes_of(token: str) -> bytes:
    """Raises ValueError."""
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def is_token(value: str) -> bool:
    """Whether it is a continue token at all; what is not, the shard refuses."""
    try:
        json.loads(_bytes_of(value).decode("utf-8", "replace"))
    except (binascii.Error, json.JSONDecodeError):
        return False
    except (ValueError, RecursionError):
        return True
    return True


def check_token(value: str, prefix: str) -> str:
    """A client's continue token, if it goes on inside the workspace. Raises StatusError 400 otherwise."""
    try:
        decoded: Any = orjson.loads(_bytes_of(value))
        start = decoded["start"]
        version = decoded["rv"]
        inside = isinstance(start, str) and start.removeprefix("/").startswith(prefix) and isinstance(version, int)
    except (binascii.Error, ValueError, KeyError, TypeError):
        inside = False
    if not inside or "/../" in start or start.endswith("/.."):
        raise StatusError(400, "invalid continue token: continue key is not valid: it does not belong to this list")
    # Made again, so that nothing is passed on that was not looked at.
    again = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(again).rstrip(b"=").decode()


def split_page(body: bytes, token: str, *, selected: bool = False) -> Page:
    """Cut an answer to what is the workspace's own, which is all of one that was ``selected``. Raises StatusError 500
    for an answer that cannot be read."""
    try:
        page = _envelope.decode(body)
        rows = page.kind == "Table"
        items = (page.rows if rows else page.items) or []
        prefix = f"{token}-"
        # One by one: the place where others begin is not worth guessing, at a microsecond each.
        own = items if selected else list(takewhile(lambda raw: _own(raw, prefix, rows), items))
    except msgspec.MsgspecError as error:
        raise _unreadable(error) from error
    more = page.metadata.continue_ if len(own) == len(items) else ""
    columns = b'"columnDefinitions":' + bytes(page.columns) + b"," if bytes(page.columns) else b""
    head = orjson.dumps({"kind": page.kind, "apiVersion": page.api_version})[:-1] + b',"metadata":'
    between = b"," + columns + (b'"rows":[' if rows else b'"items":[')
    meta, head, between = page.metadata, strip_bytes(head, token), strip_bytes(between, token)
    return Page(head, meta.resource_version, more, between, own, rows, meta.remaining)


def _unreadable(error: Exception) -> StatusError:
    return StatusError(500, f"a list from the shard cannot be read: {error}")


def _metadata(raw: msgspec.Raw, row: bool) -> _Named:
    return (_row.decode(raw).object if row else _item.decode(raw)).metadata


def _own(raw: msgspec.Raw, prefix: str, row: bool) -> bool:
    meta = _metadata(raw, row)
    return (meta.namespace or meta.name).startswith(prefix)


def join_items(items: list[msgspec.Raw], token: str) -> bytes:
    """Items with commas between them. Raises StatusError 500 if one of them carries another workspace's label: the
    last look before they leave."""
    joined = b",".join(bytes(item) for item in items)
    if count(joined, f'"{LABEL}":"'.encode()) != count(joined, f'"{LABEL}":"{token}"'.encode()):
        raise StatusError(500, "a list from the shard is not in order")
    return joined


def list_metadata(version: str, next_token: str, *, always: bool = False) -> bytes:
    """``always``: an empty continue token is written as well."""
    meta = {"resourceVersion": version} | ({"continue": next_token} if next_token or always else {})
    return orjson.dumps(meta)
