"""The address where kcp is scraped and asked how it is: ``/metrics``, ``/livez``, ``/readyz``, on plain HTTP."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import web

from proxy.kube.bearer import TokenFile
from proxy.metrics.exposition import expose
from proxy.metrics.snapshot import Family

Checks = Mapping[str, str | None]
"""Name of a check → None if it passes, else what is wrong in a line."""


class MetricsError(Exception):
    """The address cannot be listened at; one line."""


class MetricsServer:
    """``await start()``, ``await stop()``."""

    def __init__(
        self,
        families: Callable[[], Awaitable[Sequence[Family]]],
        checks: Callable[[], Awaitable[Checks]],
        token_file: Path | None = None,
    ) -> None:
        """``token_file``: holds the bearer token that ``/metrics`` and details of checks are for; read each time, so
        that it can be changed."""
        self._scrapers = TokenFile(token_file)
        self._families = families
        self._checks = checks
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """The port listened at. Raises MetricsError."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        try:
            await site.start()
        except OSError as error:
            await self.stop()
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror or error}"
            raise MetricsError(f"port {port} of {host} {why}") from error
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _may(self, request: web.Request) -> bool:
        return self._scrapers.allows(request.headers.get("Authorization", ""))

    async def _metrics(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return web.Response(text="Unauthorized\n", status=401, headers={"WWW-Authenticate": 'Bearer realm="kcp"'})
        body, content_type = expose(await self._families(), request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _livez(self, request: web.Request) -> web.Response:
        """Alive is who answers: a shard that is down is no reason to be restarted."""
        return web.Response(text="[+]ping ok\nlivez check passed\n" if "verbose" in request.query else "ok")

    async def _readyz(self, request: web.Request) -> web.Response:
        """In the form of a kube-apiserver's."""
        checks = await self._checks()
        failed = any(checks.values())
        if not self._may(request):
            return web.Response(text="readyz check failed\n" if failed else "ok", status=503 if failed else 200)
        if not failed and "verbose" not in request.query:
            return web.Response(text="ok")
        lines = [f"[-]{name} failed: {why}" if why else f"[+]{name} ok" for name, why in checks.items()]
        lines.append("readyz check failed" if failed else "readyz check passed")
        return web.Response(text="\n".join(lines) + "\n", status=503 if failed else 200)
