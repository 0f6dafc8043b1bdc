"""The same look at a front of aiohttp's that runs in the process of the tests, at ``/clusters/TOKEN/…``."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from tests.wire.tap import Tap


def looked_at(tokens: Container[str]) -> Middleware:
    """A middleware that notes what `tests.wire.monitor` reads. ``tokens``: those of workspaces."""

    def note(line: str) -> None:
        with (Path(os.environ["PYTHONWIRE"]) / "inside.jsonl").open("a") as file:
            file.write(line + "\n")

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = request.protocol
        if not isinstance(connection.transport, Tap):
            tap = Tap(connection.transport, lambda token: token if token in tokens else None, note)
            connection.transport = tap  # type: ignore[assignment]
        assert isinstance(connection.transport, Tap)
        # Without the token: whoever asks here names it, and is to be told nothing of it all the same.
        _, _, _, rest = request.raw_path.split("/", 3)
        connection.transport.begin(request.method.encode(), f"/{rest}".encode(), await request.read())
        return await handler(request)

    return look
