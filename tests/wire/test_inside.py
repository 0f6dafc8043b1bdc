"""Fronts in the process of the tests are looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from tests.wire.inside import looked_at
from tests.wire.monitor import Wire

OWN, OTHER, NOBODYS = "kmineaaaa", "kotheraaa", "knobodyaa"


async def test_what_a_front_says_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONWIRE", "")
    wire = Wire(tmp_path / "wire")

    async def streams(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for piece in request.query["says"], request.query.get("then", ""):
            await answer.write(piece.encode())
        await answer.write_eof()
        return answer

    async def says(request: web.Request) -> web.StreamResponse:
        return web.Response(text=OTHER if request.path.endswith("other") else OWN)

    app = web.Application(middlewares=[looked_at((OWN, OTHER))])
    app.router.add_get("/clusters/{token}/streams", streams)
    app.router.add_get("/clusters/{token}/{says}", says)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/clusters/{OWN}"
    try:
        async with ClientSession() as session:
            for path, found in (
                (f"streams?says={NOBODYS}", ""),
                (f"streams?says={OTHER}", ""),  # it was asked for
                ("streams?says=kothe&then=raaa", OTHER),
                ("own", OWN),
                ("other", OTHER),
            ):
                async with session.get(f"{url}/{path}") as answer:
                    await answer.read()
                note = f"the token of {found} in body, GET /{path}: …{found}…"
                assert wire.noted() == ([note] if found else [])
    finally:
        await runner.cleanup()
