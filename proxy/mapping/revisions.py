"""Resource versions of a workspace that has moved to another shard.

Versions are numbers of one etcd: those of two shards have nothing to do with each other, and a client must not go on
with one shard's at the other. So all that a workspace hands out after its n-th move is greater by n · 10¹⁵: it grows
on, as clients may expect (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions), and what was
handed out before is told from it. A watch from such a version has expired, a write that rests on one is a conflict, a
list that is to be no older than one is as new as any. Continue tokens have the number of moves in front.

Workspaces that were never moved know nothing of all this.
"""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.kube.errors import StatusError
from proxy.kube.versions import STEP
from proxy.mapping.paths import RequestInfo

_DIGITS = 15
_VERSION = rb'"resourceVersion":"'
_CONTINUE = b'"continue":"eyJ2I'
"""Begin of each continue token, base64 of ``{"v"``."""
_HANDED_OUT = re.compile(rb'"resourceVersion":"([1-9][0-9]{0,14})"|"continue":"(?=eyJ2I)')
_OPEN = re.compile(rb'"resourceVersion":"[0-9]{0,15}("?)\Z')
"""At the end; with the last quote it is whole."""
_TAKEN_BACK = re.compile(rb'"resourceVersion":"([1-9][0-9]{15,18})"')
_LONGEST = len(_VERSION) + _DIGITS + 1


def outward(data: bytes, moves: int) -> bytes:
    """Compact JSON as the workspace sees it; whole versions and tokens only."""
    mark = b'"continue":"%d.' % moves
    return _HANDED_OUT.sub(
        lambda match: b'"resourceVersion":"%d"' % (moves * STEP + int(match[1])) if match[1] else mark, data
    )


class Outward:
    """The same piece by piece."""

    __slots__ = ("_moves", "_rest")

    def __init__(self, moves: int) -> None:
        self._moves = moves
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        if self._rest:
            data = self._rest + data
        keep = _unfinished(data)
        self._rest = data[len(data) - keep :]
        return outward(data[: len(data) - keep], self._moves)

    def flush(self) -> bytes:
        data, self._rest = self._rest, b""
        return outward(data, self._moves)


def _unfinished(data: bytes) -> int:
    if data.endswith(b"}\n"):
        return 0
    begun = _OPEN.search(data, max(0, len(data) - _LONGEST))
    if begun:
        return 0 if begun[1] else len(data) - begun.start()
    return max(
        next((length for length in range(len(text) - 1, 0, -1) if data.endswith(text[:length])), 0)
        for text in (_VERSION, _CONTINUE)
    )


def inward(version: str, moves: int) -> str | None:
    """A version of the shard; None for one from before the last move. What is no version stays."""
    if not moves or version in ("", "0") or not (version.isascii() and version.isdigit()):
        return version
    number = int(version) - moves * STEP
    return str(number) if number > 0 else None


def body_inward(body: bytes, moves: int) -> bytes:
    """Versions in compact JSON that came from this workspace since its last move."""
    if not moves:
        return body

    def taken_back(match: re.Match[bytes]) -> bytes:
        number = int(match[1]) - moves * STEP
        return b'"resourceVersion":"%d"' % number if 0 < number < STEP else match[0]

    return _TAKEN_BACK.sub(taken_back, body)


def query_inward(info: RequestInfo, moves: int) -> RequestInfo:
    """The request with the shard's versions in its query. Raises StatusError 410 for what goes on from before the last
    move."""
    parameters = {name: info.first(name) for name, _ in info.query}
    if not parameters.keys() & {"resourceVersion", "continue"}:
        return info
    changed: dict[str, str | None] = {}
    going_on = parameters.get("continue", "")
    if going_on and info.verb != "watch":
        number, dot, token = going_on.partition(".")
        if dot and number == str(moves):
            changed["continue"] = token
        elif dot or going_on.startswith("eyJ2I"):
            raise StatusError(
                410,
                "The provided continue parameter is too old to display a consistent list result. You must start a new "
                "list without the continue parameter.",
                reason="Expired",
            )
    wanted = parameters.get("resourceVersion", "")
    version = inward(wanted, moves)
    if version is None:
        initial = parameters.get("sendInitialEvents") in ("true", "1")
        exact = parameters.get("resourceVersionMatch") == "Exact"
        if exact or (info.verb == "watch" and not initial):
            raise StatusError(410, f"too old resource version: {wanted} ({moves * STEP})", reason="Expired")
        changed["resourceVersion"] = None
        if not initial:
            changed["resourceVersionMatch"] = None
    elif version != wanted:
        changed["resourceVersion"] = version
    mapped = [(name, changed.get(name, value)) for name, value in info.query]
    return replace(info, query=[(name, value) for name, value in mapped if value is not None])


def conflict(info: RequestInfo) -> StatusError:
    """As ``k8s.io/apimachinery/pkg/api/errors.NewConflict`` with the registry's words."""
    resource = f"{info.resource}.{info.group}" if info.group else info.resource
    return StatusError(
        409,
        f'Operation cannot be fulfilled on {resource} "{info.name}": the object has been modified; please apply your '
        "changes to the latest version and try again",
        reason="Conflict",
        details={"name": info.name, "group": info.group, "kind": info.resource},
    )
