"""The least front that puts the mapping between a client and a real shard: every caller is its workspace's owner.

What it leaves out (who asks, what a workspace serves) is the gateway's; what it shows is that the bytes which the
mapping makes mean the same to a kube-apiserver as the client's meant to the client.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yarl
from aiohttp import web

from proxy.binaries import ensure
from proxy.kube.config import write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.mapping.gate import gate, gate_mapped
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.paths import parse
from proxy.mapping.request import Attributes, MappedRequest, map_request
from proxy.mapping.shared import shared_group
from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes
from proxy.server.listing import produce_list
from proxy.server.messages import Forward, Header, Response
from proxy.server.pages import Known
from proxy.shard.control_plane import ControlPlane
from tests.integration.mapping_workspaces import BEFORE, BEHIND, MINE
from tests.integration.privileged import privileged_as
from tests.pieces import Opening
from tests.wire.inside import looked_at

SHARED = shared_group("mappingtests", "shared.test")
"""Group of types that all workspaces share, on the shard."""


class Scopes:
    """Cluster-scoped kinds of the tests' CRDs: all those of group ``stars.test``; shared ones: of ``shared.test``."""

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return group == "stars.test"

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return group == "stars.test"

    def kind_of(self, group: str, resource: str) -> str:
        return ""

    def shared_group(self, group: str, resource: str) -> str:
        return SHARED if group == "shared.test" else ""

    def shared_group_of_kind(self, group: str, kind: str) -> str:
        return SHARED if group == "shared.test" else ""


class Front:
    """Serves ``/clusters/TOKEN/…`` for any token."""

    def __init__(self, shard: ControlPlane, session: aiohttp.ClientSession) -> None:
        self._base = shard.connection.server
        self._ssl = shard.connection.ssl_context()
        self._bearer = shard.connection.bearer()
        self._session = session
        self.url = ""
        self.content_types: list[str] = []
        """Of the request bodies that came in."""
        self.fetched: list[bytes] = []
        """Pages of lists as the shard sent them."""
        self.lists = Known()
        self.behind_first: Callable[[], Awaitable[None]] | None = None
        """Called once, when the first page of a list has come."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        _, _, token, rest = request.raw_path.split("/", 3)
        target = b"/" + rest.encode()
        body = await request.read()
        if body:
            self.content_types.append(request.headers.get("content-type", ""))
        try:
            mapped = self._map(request, target, body, token)
            if mapped.listing is None:
                if mapped.attributes.is_resource:
                    gate_mapped(request.method.encode(), mapped, token)
                return await self._forward(request, mapped.target, mapped.headers, mapped.body, token)
            return await self._list(request, mapped, token)
        except StatusError as error:
            return web.json_response(error.status(), status=error.code)

    def _map(self, request: web.Request, target: bytes, body: bytes, token: str) -> MappedRequest:
        info = parse(request.method.encode(), target)
        headers = [(key.lower().encode(), value.encode()) for key, value in request.headers.items()]
        if info.is_resource:
            return map_request(info, token, method=request.method.encode(), headers=headers, body=body, scopes=Scopes())
        # Discovery and the like: the shard's own, with the workspace's groups found where they are.
        path, _, query = target.decode().partition("?")
        parts = path.split("/")
        if len(parts) > 2 and parts[1] == "apis" and parts[2] and parts[2] not in NATIVE_GROUPS:
            parts[2] = f"{token}-{parts[2]}"
        mapped_target = "/".join(parts) + (f"?{query}" if query else "")
        accept = [(b"accept", request.headers.get("accept", "").encode())]
        attributes = Attributes(info.verb, "", "", "", "", "", False, info.path)
        return MappedRequest(mapped_target.encode(), accept, b"", attributes)

    async def _forward(
        self, request: web.Request, target: bytes, headers: list[Header], body: bytes, token: str
    ) -> web.StreamResponse:
        stream = ResponseFilter(patterns(token))
        async with self._ask(request.method, target, headers, body, token) as answer:
            reply = web.StreamResponse(status=answer.status)
            for name in ("content-type", "warning", "location"):
                if name in answer.headers:
                    reply.headers[name] = strip_bytes(answer.headers[name].encode(), token).decode()
            await reply.prepare(request)
            async for chunk in answer.content.iter_any():
                data = stream.feed(chunk)
                if data:
                    await reply.write(data)
            await reply.write(stream.flush())
            await reply.write_eof()
        return reply

    def _ask(
        self, method: str, target: bytes, headers: list[Header], body: bytes, token: str
    ) -> aiohttp.client._RequestContextManager:
        identity = {"Authorization": f"Bearer {self._bearer}", **privileged_as(f"{token}-owner")}
        sent = {key.decode(): value.decode() for key, value in headers} | identity
        url = yarl.URL(self._base + target.decode(), encoded=True)
        timeout = aiohttp.ClientTimeout(total=60)
        return self._session.request(
            method, url, headers=sent, data=body or None, ssl=self._ssl or False, timeout=timeout
        )

    async def _list(self, request: web.Request, mapped: MappedRequest, token: str) -> web.StreamResponse:
        assert mapped.listing is not None
        gate_mapped(b"GET", mapped, token)
        reply = web.StreamResponse()
        front = self

        class Writer(Opening):
            size = 5000

            async def fetch(self, forward: Forward) -> Response:
                gate(b"GET", forward.target, b"", token)
                async with front._ask("GET", forward.target, forward.headers, b"", token) as answer:
                    body = await answer.read()
                    front.fetched.append(body)
                called, front.behind_first = front.behind_first, None
                if called is not None:
                    await called()
                return Response(answer.status, [], body)

            async def start(self, status: int, headers: list[Header]) -> None:
                reply.set_status(status)
                reply.content_type = "application/json"
                await reply.prepare(request)

            async def write(self, data: bytes) -> None:
                await reply.write(data)

            async def end(self) -> None:
                await reply.write_eof()

        def page(target: bytes) -> Forward:
            return Forward("shard", b"GET", target, mapped.headers)

        await produce_list(mapped.listing, "shard", page, front.lists).run(Writer())
        return reply


@asynccontextmanager
async def serve(shard: ControlPlane) -> AsyncIterator[Front]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        front = Front(shard, session)
        app = web.Application(client_max_size=4 << 20, middlewares=[looked_at((BEFORE, MINE, BEHIND))])
        app.router.add_route("*", "/{tail:.*}", front.handle)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        front.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield front
        finally:
            await runner.cleanup()


class Workspace:
    """A client of one token: raw requests, and an unmodified kubectl."""

    def __init__(self, front: Front, token: str, folder: Path) -> None:
        self.token = token
        self._front = front
        self._server = f"{front.url}/clusters/{token}"
        self._folder = folder
        self._kubeconfig = folder / f"{token}.kubeconfig"
        cluster = {"name": "c", "cluster": {"server": self._server}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        write_kubeconfig(
            self._kubeconfig,
            {"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [cluster], "contexts": [context],
             "users": [{"name": "u", "user": {}}]},
        )  # fmt: skip

    async def raw(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", accept: str = ""
    ) -> tuple[int, bytes]:
        headers = {"content-type": content_type} if body is not None else {}
        if accept:
            headers["accept"] = accept
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        url = yarl.URL(self._server + path, encoded=True)
        async with self._front._session.request(method, url, headers=headers, data=data) as answer:
            return answer.status, await answer.read()

    async def ask(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", accept: str = ""
    ) -> Any:
        """The decoded answer; fails the test unless it is a success."""
        status, answer = await self.raw(method, path, body, content_type, accept)
        assert status < 300, answer
        return orjson.loads(answer)

    @asynccontextmanager
    async def watch(self, path: str) -> AsyncIterator[aiohttp.StreamReader]:
        url = yarl.URL(self._server + path, encoded=True)
        async with self._front._session.get(url) as answer:
            assert answer.status == 200
            yield answer.content

    async def kubectl(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        """Output of an unmodified kubectl (both streams where it ``fails``)."""
        program = ensure(("kubectl",))["kubectl"]
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self._kubeconfig), "HOME": str(self._folder)},
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert (process.returncode != 0) == fails, err.decode()
        return out.decode() + (err.decode() if fails else "")


async def settled(workspace: Workspace, method: str, path: str, body: object, media: str = "application/json") -> Any:
    """Custom resources right after their CRD: the shard asks to wait a few seconds."""
    for _ in range(150):
        status, answer = await workspace.raw(method, path, body, media)
        if status not in (404, 503):
            assert status < 300, answer
            return orjson.loads(answer)
        await asyncio.sleep(0.2)
    raise AssertionError(answer)
