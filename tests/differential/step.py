"""One request of a sequence, as both sides get it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

WORLD = "wxyzw"
"""Stands in requests for the name of the world that a sequence is played in: all that it makes carries it in its
namespace or name, so sequences do not meet. A world's name is as long."""

MASTER, GUEST = "master", "guest"
"""Users: one who may do everything, one with the few rights of `ground.GUEST_RULES`."""

_REFERENCE = re.compile(r"@(rv|uid|continue|name):(\d+)@")
_FALLBACK = {"rv": "1", "uid": "0d4b1d3c-0000-4000-8000-000000000000", "continue": "", "name": "none"}


@dataclass(frozen=True, slots=True)
class Step:
    """``@rv:N@``, ``@uid:N@``, ``@continue:N@`` and ``@name:N@`` in target and body stand for what the answer to step
    N had there, on each side its own."""

    id: int
    method: str
    target: str
    """Path and query, percent-encoded."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    user: str = MASTER
    settle: str = ""
    """A path that is asked afterwards until both sides are at rest: controllers act behind it."""
    late: bool = False
    """Whether answers follow what was done before in each server's own time: it is asked again until they are alike."""
    protobuf: bool = False
    """Whether the JSON body is to be sent as protobuf, if the plain side can write it so."""

    def shown(self) -> str:
        """As text, to be read by people."""
        lines = [f"{self.method} {self.target}" + (f"    (as {self.user})" if self.user != MASTER else "")]
        lines += [f"  {name}: {value}" for name, value in self.headers]
        if self.body:
            text = self.body.decode("utf-8", "backslashreplace")
            lines.append("  " + (text if len(text) < 1500 else f"{text[:1400]}… ({len(self.body)} bytes)"))
        return "\n".join(lines)


@dataclass(slots=True)
class Memory:
    """What one side has answered: the values that later steps refer to."""

    world: str
    values: dict[tuple[str, int], str] = field(default_factory=dict)

    def resolve(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            return self.values.get((match[1], int(match[2]))) or _FALLBACK[match[1]]

        return (
            _REFERENCE.sub(value, text).replace(WORLD, self.world) if "@" in text else text.replace(WORLD, self.world)
        )

    def resolve_body(self, body: bytes) -> bytes:
        # Bodies may be any bytes: latin-1 keeps them all.
        return self.resolve(body.decode("latin-1")).encode("latin-1") if body else body

    def learn(self, step: int, answer: object) -> None:
        if not isinstance(answer, Mapping):
            return
        meta = answer.get("metadata")
        if isinstance(meta, Mapping):
            for key, name in (("rv", "resourceVersion"), ("uid", "uid"), ("continue", "continue"), ("name", "name")):
                if isinstance(meta.get(name), str):
                    self.values[key, step] = meta[name]
