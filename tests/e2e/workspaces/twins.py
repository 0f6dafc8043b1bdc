"""The same requests to a plain kube-apiserver and to a workspace, side by side."""

from __future__ import annotations

import asyncio
import base64
import difflib
import pprint
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import orjson
from yarl import URL

from proxy.kube.config import Connection
from tests.integration.eventually import eventually

T = TypeVar("T")
SEEN = ("content-type", "content-encoding", "warning", "vary", "x-content-type-options", "cache-control", "allow")
"""Headers that the two must have in common."""
CORE = "/api/v1"
DEFAULT = f"{CORE}/namespaces/default"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case; of several of one name all values, with line breaks between them."""
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def seen(self) -> tuple[int, dict[str, str]]:
        """Status and those headers that matter."""
        return self.status, {name: self.headers[name] for name in SEEN if name in self.headers}

    @property
    def said(self) -> tuple[int, str, str, Any]:
        """Of a Status: code, reason, message, details."""
        status = self.json
        return self.status, status.get("reason", ""), status.get("message", ""), status.get("details")


class Api:
    """One API server, as its administrator or with a ``token`` of somebody else."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        """``plain`` or ``workspace``: for messages only, no scenario depends on it."""
        self.connection = connection
        stranger = Connection(connection.server, ca_data=connection.ca_data)
        self._trust: Any = connection.ssl_context()
        self._trust_alone: Any = stranger.ssl_context()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        token: str | None = None,
        **headers: str,
    ) -> Answer:
        """``path`` as it is written; ``headers`` with _ for -. ``token``: somebody else's; empty for nobody's."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        if data is not None:
            sent["Content-Type"] = content_type
        async with self._request(method, path, data, sent, token) as answer:
            names = {name.lower() for name in answer.headers}
            found = {name: "\n".join(answer.headers.getall(name)) for name in names}
            return Answer(answer.status, found, await answer.read())

    def _request(
        self,
        method: str,
        path: str,
        data: bytes | None,
        headers: dict[str, str],
        token: str | None,
        *,
        within: float | None = 60.0,
    ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            self._session = aiohttp.ClientSession(auto_decompress=False)
        bearer = self.connection.bearer() if token is None else token
        if bearer:
            headers = {**headers, "Authorization": f"Bearer {bearer}"}
        url = URL(self.connection.server + path, encoded=True)
        trust = self._trust if token is None else self._trust_alone
        timeout = aiohttp.ClientTimeout(within)
        return self._session.request(method, url, data=data, headers=headers, ssl=trust, timeout=timeout)

    async def watch(
        self,
        path: str,
        until: Callable[[list[Any]], bool],
        *,
        within: float = 20.0,
        opened: Callable[[], object] = lambda: None,
        **headers: str,
    ) -> list[Any]:
        """Events of a watch as they come, until they are enough or the server ends it; ``opened`` is called when the
        server has agreed to it."""
        events: list[Any] = []
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with asyncio.timeout(within), self._request("GET", path, None, sent, None, within=None) as answer:
            assert answer.status == 200, await answer.read()
            opened()
            async for line in answer.content:
                events.append(orjson.loads(line))
                if until(events):
                    break
        return events

    async def must(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """The decoded body of a success."""
        answer = await self.ask(method, path, body, **options)
        assert answer.status < 300, f"{self.name}: {method} {path}: {answer.status} {answer.body[:2000]!r}"
        return answer.json if answer.body else None

    async def until(
        self, method: str, path: str, body: object = None, *, wanted: Callable[[Answer], bool], within: float = 20.0
    ) -> Answer:
        """The first answer that is as ``wanted``."""

        async def found() -> Answer | None:
            answer = await self.ask(method, path, body)
            return answer if wanted(answer) else None

        answer = await eventually(found, timeout=within)
        assert answer is not None
        return answer


@dataclass(frozen=True, slots=True)
class Twins:
    plain: Api
    workspace: Api

    async def same(self, scenario: Callable[[Api], Awaitable[T]]) -> T:
        """Play it on both at the same time: the results must be equal; the result."""
        plain, workspace = await asyncio.gather(scenario(self.plain), scenario(self.workspace))
        differences = difflib.unified_diff(_lines(plain), _lines(workspace), "plain", "workspace", lineterm="")
        assert workspace == plain, "\n".join(differences)
        return plain


def _lines(value: object) -> list[str]:
    return pprint.pformat(value, width=120).splitlines()


def encoded(text: str) -> str:
    """As ``data`` of a Secret."""
    return base64.b64encode(text.encode()).decode()
