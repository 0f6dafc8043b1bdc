"""A small front for tests of discovery: the real class answers, resource requests go mapped to a real shard.

Plain HTTP and no authentication, so that what fails in a test is discovery and nothing else.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from proxy.binaries import find
from proxy.discovery import Discovery, Scopes
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.mapping.paths import parse
from proxy.mapping.request import map_request
from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Reply, Request
from proxy.server.replies import page_not_found, refusal
from tests.wire.inside import looked_at

HOP = frozenset({"transfer-encoding", "content-length", "connection", "content-encoding"})


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace as discovery sees it."""

    token: str
    type: str = "Universal"
    shard: str = "a"

    @property
    def prefix(self) -> str:
        return f"{self.token}-"


class Front:
    """``http://127.0.0.1:PORT/clusters/TOKEN`` of the places given; ``seen`` keeps method, target, Accept, status."""

    def __init__(self, client: Client, *places: Place) -> None:
        self.client = client
        self.discovery = Discovery({"a": client})
        self.places = {place.token: place for place in places}
        self.seen: list[tuple[str, str, str, int]] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._follow = asyncio.create_task(self.discovery.run())
        await asyncio.wait_for(self.discovery.wait_synced(), 30)
        self._session = aiohttp.ClientSession(auto_decompress=True)
        app = web.Application(client_max_size=2**22, middlewares=[looked_at(self.places)])
        app.router.add_route("*", "/clusters/{token}{rest:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()
        self._follow.cancel()
        await asyncio.gather(self._follow, return_exceptions=True)

    def url(self, place: Place) -> str:
        return f"http://127.0.0.1:{self.port}/clusters/{place.token}"

    async def kubectl(self, place: Place, *args: str, home: Path, stdin: str = "") -> tuple[int, str, str]:
        """Run the real kubectl against a place; ``home`` holds its caches. Exit code, stdout, stderr."""
        env = {"HOME": str(home), "PATH": os.environ["PATH"], "KUBECONFIG": str(home / "none")}
        process = await asyncio.create_subprocess_exec(
            str(find("kubectl")), "--server", self.url(place), "--cache-dir", str(home / "cache" / place.token), *args,
            env=env, stdin=-1, stdout=-1, stderr=-1,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return process.returncode or 0, out.decode(), err.decode()

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        place = self.places[http.match_info["token"]]
        target = http.raw_path.removeprefix(f"/clusters/{place.token}") or "/"
        headers = [(key.lower().encode(), value.encode()) for key, value in http.headers.items()]
        request = Request(http.method.encode(), target.encode(), headers, await http.read())
        try:
            answer = await self._answer(place, request)
        except StatusError as error:
            answer = refusal(error, request)
        accept = http.headers.get("Accept", "")
        self.seen.append((http.method, target, accept, answer.status))
        response = web.Response(status=answer.status, body=answer.body)
        for name, value in answer.headers:
            response.headers.add(name.decode(), value.decode())
        return response

    async def _answer(self, place: Place, request: Request) -> Reply:
        info = parse(request.method, request.target)
        if not info.is_resource:
            query = request.target.partition(b"?")[2].decode()
            reply = self.discovery.reply(place, request, info.path, query)
            if isinstance(reply, Awaitable):
                reply = await reply
            return reply or page_not_found()
        if not self.discovery.serves(place, info.group, info.version, info.resource):
            await self.discovery.refresh(place, info.group, info.version, info.resource)
            if not self.discovery.serves(place, info.group, info.version, info.resource):
                return page_not_found()
        mapped = map_request(
            info, place.token, method=request.method, headers=request.headers, body=request.body,
            scopes=Scopes(self.discovery, place),
        )  # fmt: skip
        connection = self.client.connection
        context = connection.ssl_context()
        sent = [(key.decode(), value.decode()) for key, value in mapped.headers]
        sent.append(("Authorization", f"Bearer {connection.token}"))
        async with self._session.request(
            info_method(request.method), connection.server + mapped.target.decode(), data=mapped.body or None,
            headers=sent, ssl=context if context is not None else False,
        ) as response:  # fmt: skip
            body = strip_bytes(await response.read(), place.token)
            kept = [(k.lower().encode(), v.encode()) for k, v in response.headers.items() if k.lower() not in HOP]
            return Reply(response.status, kept, body)


def info_method(method: bytes) -> str:
    return "GET" if method == b"HEAD" else method.decode()
