"""Answers in pieces, for tests whose exchange only fetches."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from proxy.server.messages import Forward, Pieces, Response


class Opening(ABC):
    """An exchange whose ``open`` is its ``fetch``, under way at once; ``size``: bytes of a piece."""

    size = 7

    @abstractmethod
    async def fetch(self, forward: Forward) -> Response: ...

    def open(self, forward: Forward) -> Pieces:
        return _Parts(asyncio.ensure_future(self.fetch(forward)), self.size)


class _Parts:
    def __init__(self, fetching: asyncio.Future[Response], size: int) -> None:
        self._fetching = fetching
        self._size = size
        self._at = 0

    async def begun(self) -> Response:
        response = await self._fetching
        return Response(response.status, response.headers, b"")

    async def more(self) -> bytes:
        body, at = self._fetching.result().body, self._at
        self._at += self._size
        return body[at : self._at]

    def cancel(self) -> None:
        if not self._fetching.cancel() and not self._fetching.cancelled():
            self._fetching.exception()  # which nobody asks for any more
