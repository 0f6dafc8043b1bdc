"""A plain proxy of aiohttp, server and client, on uvloop: requests as they are, one identity for all."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from tests.bench.peers.program import run

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "content-length"})
NOT_SENT = HOP_BY_HOP | {"host", "authorization"}
SHORT = 64 * 1024
"""Bytes of an answer that is read before any of it is written."""


def handler_of(session: aiohttp.ClientSession, server: str, token: str) -> web.Server:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in NOT_SENT]
        headers += [("Authorization", f"Bearer {token}")]
        headers += [("Impersonate-User", "bench"), ("Impersonate-Group", "system:masters")]
        url = URL(server + request.path_qs, encoded=True)
        body = request.content if request.body_exists else None
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
            if answer.content_length is not None and answer.content_length < SHORT:
                response: web.StreamResponse = web.Response(status=answer.status, body=await answer.read())
                for name, value in kept:
                    response.headers[name] = value
                return response
            response = web.StreamResponse(status=answer.status)
            for name, value in kept:
                response.headers[name] = value
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    return web.Server(handle, access_log=None, handler_cancellation=True)


async def serve(arguments: argparse.Namespace) -> None:
    """Until killed."""
    upstream = ssl.create_default_context(cafile=arguments.ca)
    token = Path(arguments.tokens).read_text().partition(",")[0]
    front = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    front.load_cert_chain(arguments.cert, arguments.key)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=upstream, keepalive_timeout=60),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    ) as session:
        host, _, port = arguments.listen.rpartition(":")
        server = handler_of(session, arguments.server, token)
        await asyncio.get_running_loop().create_server(server, host, int(port), ssl=front, backlog=2048)
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve)
