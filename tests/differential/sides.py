"""Plain HTTP to the two servers: nothing of a request or an answer is tidied up on the way."""

from __future__ import annotations

import asyncio
import gzip
import re
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from yarl import URL

from tests.differential.step import Memory, Step

QUIET = 0.25
"""Seconds without an event after which a watch is cut at first; longer if the two sides are then not alike."""
LONGEST = 60.0
"""Seconds for one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes
    ended: bool = True
    """Whether the server ended it; a watch may have been cut here."""

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key == name)

    def json(self) -> Any:
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


class Side:
    """``base``: URL before each target; ``tokens`` by user."""

    def __init__(self, name: str, base: str, tokens: dict[str, str]) -> None:
        self.name = name
        self.base = base
        self.tokens = tokens
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def play(self, step: Step, memory: Memory, body: bytes | None = None, quiet: float = QUIET) -> Answer:
        """``quiet``: seconds without an event after which a watch is cut."""
        headers = {"Authorization": f"Bearer {self.tokens[step.user]}"}
        target = memory.resolve(step.target)
        pairs = [*headers.items(), *((name, memory.resolve(value)) for name, value in step.headers)]
        sent = memory.resolve_body(step.body) if body is None else body
        try:
            answer = await self.ask(step.method, target, pairs, sent, watch=is_watch(target), quiet=quiet)
        except aiohttp.ClientConnectionError as error:
            answer = Answer(0, (), f"no answer: {type(error).__name__}".encode())
        memory.learn(step.id, answer.json())
        return answer

    async def ask(
        self,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: bytes = b"",
        *,
        watch: bool = False,
        quiet: float = QUIET,
    ) -> Answer:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
                connector=aiohttp.TCPConnector(ssl=False, limit=8),
                timeout=aiohttp.ClientTimeout(total=LONGEST),
            )
        url = URL(self.base + target, encoded=True)
        async with self._session.request(
            method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            got = tuple((name.lower(), value) for name, value in answer.headers.items())
            if not watch or answer.status != 200:
                content = await answer.read()
                ended = True
            else:
                content, ended = await _watched(answer, quiet)
            if answer.headers.get("Content-Encoding") == "gzip" and method != "HEAD":
                content = gzip.decompress(content)
            return Answer(answer.status, got, content, ended)

    async def get(self, target: str) -> Answer:
        """As the master, without any ado."""
        return await self.ask("GET", target, [("Authorization", f"Bearer {self.tokens['master']}")])

    async def send(self, method: str, target: str, body: Any = None, query: str = "") -> Answer:
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = [("Authorization", f"Bearer {self.tokens['master']}"), ("Content-Type", media)]
        return await self.ask(method, target + query, headers, b"" if body is None else orjson.dumps(body))


def is_watch(target: str) -> bool:
    return re.search(r"[?&]watch=(?!false|0)", target) is not None


async def _watched(answer: aiohttp.ClientResponse, quiet: float) -> tuple[bytes, bool]:
    """What comes until it is ``quiet``, in whole lines."""
    told = b""
    while True:
        try:
            piece = await asyncio.wait_for(answer.content.readany(), quiet if told[-1:] in (b"", b"\n") else None)
        except TimeoutError:
            return told, False
        if not piece:
            return told, True
        told += piece
