"""A real admission webhook: HTTPS, one path for each way to answer."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from proxy.shard.addresses import free_port
from proxy.shard.pki import Authority
from tests.integration.conversion.converting import convert

Object = dict[str, Any]


class WebhookServer:
    """``url(path)``; what it was asked stands in ``asked``, by path."""

    def __init__(self, port: int, authority: bytes) -> None:
        self.port = port
        self.bundle = base64.b64encode(authority).decode()
        self.asked: dict[str, list[Object]] = {}
        self.converted: dict[str, list[Object]] = {}
        """The same of conversions."""
        self.bodies: list[bytes] = []
        """Of all questions."""

    def config(self, path: str) -> Object:
        """A ``clientConfig``."""
        return {"url": f"https://127.0.0.1:{self.port}/{path}", "caBundle": self.bundle}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        body = await request.read()
        self.bodies.append(body)
        review = orjson.loads(body)
        way, _, value = path.partition("/")
        if review.get("kind") == "ConversionReview":
            self.converted.setdefault(path, []).append(review["request"])
            return await convert(way, value, review)
        self.asked.setdefault(path, []).append({**review["request"], "_query": request.query_string})
        answer: Object = {"uid": review["request"]["uid"], "allowed": True}
        match way:
            case "deny":
                answer |= {"allowed": False, "status": {"message": "not here", "code": 403, "reason": "Forbidden"}}
            case "silent":
                answer |= {"allowed": False}
            case "teapot":
                answer |= {"allowed": False, "status": {"message": "short", "code": 418, "reason": "Teapot"}}
            case "warn":
                answer |= {"warnings": ["mind the gap"]}
            case "label":
                answer |= self._patch(review["request"], path.partition("/")[2])
            case "rename":
                answer |= _patched([{"op": "replace", "path": "/metadata/name", "value": "other"}])
            case "broken":
                answer |= _patched([{"op": "replace", "path": "/nothing/here", "value": 1}])
            case "raw":
                answer |= _patched(orjson.loads(base64.urlsafe_b64decode(path.partition("/")[2])))
            case "slow":
                await asyncio.sleep(20)
            case "wait":
                await asyncio.sleep(float(value))
            case "wrong":
                answer["uid"] = "another"
            case "error":
                return web.Response(status=500, text="out of order")
            case "missing":
                return web.Response(status=404, text="nothing")
            case "redirect":
                raise web.HTTPFound(f"https://127.0.0.1:{self.port}/allow")
        return web.Response(
            body=orjson.dumps({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": answer}),
            content_type="application/json",
        )

    @staticmethod
    def _patch(request: Object, name: str) -> Object:
        """Each time it is asked, a letter more."""
        labels = (request["object"]["metadata"].get("labels") or {}) if request["object"] else {}
        value = labels.get(name, "") + "x"
        if labels:
            return _patched([{"op": "add", "path": f"/metadata/labels/{name}", "value": value}])
        return _patched([{"op": "add", "path": "/metadata/labels", "value": {name: value}}])


def raw(*patch: Object) -> str:
    """Path of the webhook that answers with this patch."""
    return f"raw/{base64.urlsafe_b64encode(orjson.dumps(patch)).decode()}"


def _patched(patch: list[Object]) -> Object:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(patch)).decode()}


@asynccontextmanager
async def webhook_server(folder: Path) -> AsyncIterator[WebhookServer]:
    authority = Authority(folder, "webhook")
    pair = authority.server("webhook", {"127.0.0.1"})
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    port = free_port()
    server = WebhookServer(port, authority.cert_file.read_bytes())
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield server
    finally:
        await runner.cleanup()
