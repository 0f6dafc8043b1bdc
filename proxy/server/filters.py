"""Answers of shards on their way: freed of the prefix, and brought into the form that was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache, partial, reduce
from typing import NamedTuple

from proxy.admission.platform import MUTATING, VALIDATING
from proxy.mapping.columns import Columns
from proxy.mapping.described import Described
from proxy.mapping.detours import Undetoured
from proxy.mapping.forms import Form
from proxy.mapping.reshape import Chain, Indented, JsonOnly, Yaml
from proxy.mapping.revisions import Outward
from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes
from proxy.server.messages import BodyFilter, Exchange, Forward, Header, Pieces, Produce, Response
from proxy.server.replies import JSON, YAML

_SHAPES: dict[Form, Callable[[], BodyFilter]] = {
    Form.INDENTED: lambda: JsonOnly(Indented()),
    Form.YAML: lambda: JsonOnly(Yaml()),
}


class About(NamedTuple):
    """What decides what is done to an answer."""

    token: str
    """Of the workspace."""
    form: Form = Form.COMPACT
    moves: int = 0
    """Of the workspace, until now."""
    own: bool = False
    """It goes to a user without the proxy's privileges."""
    asked: bool = False
    """The shard has asked the proxy before it answered."""
    crds: bool = False
    """It is about CRDs."""
    table_of: str = ""
    """Resource whose Table is made here."""
    described: bool = False
    """It is for ``kubectl describe deployment``."""

    def stages(self, stripped: Sequence[Callable[[], BodyFilter]]) -> list[Callable[[], BodyFilter]]:
        """Filters one behind the other, with ``stripped`` for the one that takes out the prefix."""
        found: list[Callable[[], BodyFilter] | None] = [
            Unwrapped if self.asked else None,
            _OneGroup if self.own else None,
            partial(Undetoured, self.token) if self.crds else None,
            *stripped,
            partial(Columns, self.table_of) if self.table_of else None,
            Described if self.described else None,
            partial(Outward, self.moves) if self.moves else None,
            _SHAPES.get(self.form),
        ]
        return [stage for stage in found if stage is not None]


@lru_cache(maxsize=4096)
def filters(about: About) -> tuple[Callable[[bytes], bytes], Callable[[], BodyFilter]]:
    """Head and body filters of a shard's answer."""
    stages = about.stages([partial(ResponseFilter, patterns(about.token))])
    head = partial(_head, about.token.encode(), about.form)
    return head, stages[0] if len(stages) == 1 else lambda: _row(stages)


def _row(stages: list[Callable[[], BodyFilter]]) -> BodyFilter:
    first, *others = (stage() for stage in stages)
    return reduce(Chain, others, first)


class _OneGroup:
    """The shard puts whomever the proxy names in system:authenticated, and says so beside the workspace's group of that
    name when it refuses an escalation. Messages are shorter than a piece."""

    def feed(self, data: bytes) -> bytes:
        return data.replace(_TWICE, b"])") if _TWICE in data else data

    def flush(self) -> bytes:
        return b""


class Unwrapped:
    """What a workspace's own admission says, a shard says as the words of the proxy's webhook: they are left out again.
    A Status is shorter than a piece."""

    def feed(self, data: bytes) -> bytes:
        if data.startswith(_STATUS):
            for said in _SAID:
                data = data.replace(said, b'"message":"', 1)
        return data

    def flush(self) -> bytes:
        return b""


_STATUS = b'{"kind":"Status"'
_SAID = tuple(
    b'"message":"admission webhook \\"%b\\" denied the request: ' % name.encode() for name in (MUTATING, VALIDATING)
)
_TWICE = b' \\"system:authenticated\\"])'


def _head(token: bytes, form: Form, lines: bytes) -> bytes:
    """Of the headers of the answer."""
    if form is Form.YAML:
        lines = _JSON_TYPE.sub(b"%b: %b" % YAML, lines)
    return strip_bytes(lines, token.decode()) if token in lines else lines


_JSON_TYPE = re.compile(rb"^%b: %b(?=\r$)" % (JSON[0], re.escape(JSON[1])), re.MULTILINE | re.IGNORECASE)


def shaped(produce: Produce, about: About) -> Produce:
    """The same for an answer that is put together here: the prefix is not in it, nor anything of the user's own."""
    stages = about._replace(own=False).stages([])
    if not stages:
        return produce
    return Produce(lambda exchange: produce.run(_Shaped(exchange, _row(stages), about.form)), produce.headers)


class _Shaped:
    """An `Exchange` that writes in another form."""

    def __init__(self, exchange: Exchange, shape: BodyFilter, form: Form) -> None:
        self._exchange = exchange
        self._shape = shape
        self._form = form

    async def fetch(self, forward: Forward) -> Response:
        return await self._exchange.fetch(forward)

    def open(self, forward: Forward) -> Pieces:
        return self._exchange.open(forward)

    async def start(self, status: int, headers: list[Header]) -> None:
        if self._form is Form.YAML:
            headers = [YAML if header == JSON else header for header in headers]
        await self._exchange.start(status, headers)

    async def write(self, data: bytes) -> None:
        await self._exchange.write(self._shape.feed(data))

    async def end(self) -> None:
        rest = self._shape.flush()
        if rest:
            await self._exchange.write(rest)
        await self._exchange.end()
