"""A thin asyncio client of the Kubernetes REST API: dicts in, dicts out.

Thin on purpose: the official client takes 0.6 s and 47 MiB to import and turns everything into model objects, while
controllers, syncer and workers need plain JSON, any group, and identity headers per request.
"""

from __future__ import annotations

import contextlib
import copy
import socket
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.kube.turns import Turn

Object = dict[str, Any]
Body = dict[str, Any] | list[Any] | bytes | None
"""JSON to encode, or bytes to send as they are."""

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
"""Of one request; pairs where a name is repeated."""

PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
UNCHECKED = {"fieldValidation": "Ignore"}
"""Parameters of patches: the server reads their bodies once and not twice. The second time is for warnings, of repeated
keys and unknown fields, which are not for programs."""
PAGE = 500
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the API: ``Resource("apps", "v1", "deployments")``; group ``""`` is the core group."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path; names are percent-encoded."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


class _Server:
    """What clients that act as several users of one server have in common; ``session`` is opened when it is needed."""

    __slots__ = ("connection", "session")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.session: aiohttp.ClientSession | None = None


class Client:
    """One API server. Usable from one event loop; ``async with`` or ``close()`` ends its connections.

    Every method raises StatusError: the server's own Status for answers of 400 and above, 503 where it cannot be
    reached, 504 where it does not answer in time.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        headers: Mapping[str, str] | None = None,
        user_agent: str = "kcp",
        observe: Callable[[str, int, float], None] | None = None,
        turn: Turn = contextlib.nullcontext,
        largest: int | None = None,
    ) -> None:
        """``observe(method, code, seconds)`` is told of each request, watches too when they begin; code 0: no answer.

        ``connection`` may be replaced by one that differs in its token alone. Each request but watches takes a
        ``turn``. ``largest``: bytes of an answer, or of a watch's event, from a server that may be anybody's.
        """
        self._server = _Server(connection)
        self._user = ""
        """As whom it acts, if that was said by `acting_as`."""
        self._observe = observe
        self._headers = CIMultiDict({"User-Agent": user_agent, "Accept": "application/json", **(headers or {})})
        self.turn = turn
        self._largest = largest

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def acting_as(self, user: str, groups: Sequence[str]) -> Client:
        """The same with the rights of that user, whoever it acts as itself: by impersonation, over the same
        connections, which end with either of them.

        Nobody is asked to do what he may not: where the server says so (to what it authorizes, not to what it admits),
        it has not read its roles yet, as after its start, and that is 503.
        """
        other = copy.copy(self)
        other._user = user
        other._headers = CIMultiDict(self._headers)
        other._headers["Impersonate-User"] = user
        other._headers.popall("Impersonate-Group", None)
        for group in groups:
            other._headers.add("Impersonate-Group", group)
        return other

    @property
    def connection(self) -> Connection:
        return self._server.connection

    @connection.setter
    def connection(self, connection: Connection) -> None:
        self._server.connection = connection

    async def close(self) -> None:
        session, self._server.session = self._server.session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._server.session is None:
            context = self.connection.ssl_context()
            # limit=0: watches hold connections for good; a bound on them would starve plain requests.
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=context if context is not None else False,
                socket_factory=sockets(self.connection.guard),
            )
            self._server.session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=2**20,
                cookie_jar=aiohttp.DummyCookieJar(),
                json_serialize=lambda value: orjson.dumps(value).decode(),
            )
        return self._server.session

    def _url(self, path: str, params: Mapping[str, str | int | None] | None) -> URL:
        query = urllib.parse.urlencode({k: v for k, v in (params or {}).items() if v is not None})
        return URL(f"{self.connection.server}{path}" + (f"?{query}" if query else ""), encoded=True)

    def _request_headers(self, headers: Headers | None) -> CIMultiDict[str]:
        merged = CIMultiDict(self._headers)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers or ():
            merged.add(name, value)
        token = self.connection.bearer()
        if token:
            merged["Authorization"] = f"Bearer {token}"
        return merged

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Body = None,
        params: Mapping[str, str | int | None] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        headers: Headers | None = None,
        timeout: float = 30,
    ) -> Any:
        """One round trip; the decoded JSON answer, or text where the answer is none. ``timeout`` in seconds."""
        send = self._request_headers(headers)
        if accept:
            send["Accept"] = accept
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        if data is not None:
            send["Content-Type"] = content_type
        async with self.turn():
            return await self._send(method, self._url(path, params), data, send, timeout)

    async def _send(self, method: str, url: URL, data: bytes | None, headers: CIMultiDict[str], timeout: float) -> Any:
        began, code = time.monotonic(), 0
        try:
            async with self._open().request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout),
                server_hostname=self.connection.tls_server_name,
                allow_redirects=False,
            ) as response:
                raw = await self._whole(response)
                code = response.status
                value = _decode(raw)
                if code >= 300:  # no API server sends anybody elsewhere
                    raise self._failure(code, value)
                return value
        except TimeoutError as error:
            raise StatusError(504, f"{self.connection.server} did not answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise StatusError(503, f"{self.connection.server} cannot be reached: {error}") from error
        finally:
            if self._observe is not None:
                self._observe(method, code, time.monotonic() - began)

    def _failure(self, code: int, body: Any) -> StatusError:
        error = StatusError.of_body(code, body)
        if code == 403 and self._user and f'User "{self._user}" cannot ' in error.message:
            return StatusError(503, f"{self.connection.server} does not let {self._user} work yet: {error.message}")
        return error

    async def _whole(self, response: aiohttp.ClientResponse) -> bytes:
        """The answer's body. Raises StatusError 502 where it is larger than any may be."""
        if self._largest is None:
            return await response.read()
        pieces, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            self._check(size)
            pieces.append(chunk)
        return b"".join(pieces)

    def _check(self, size: int) -> None:
        if self._largest is not None and size > self._largest:
            raise StatusError(502, f"{self.connection.server} sends more than {self._largest >> 20} MiB at once")

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._object("GET", resource.path(namespace, name))

    async def find(self, resource: Resource, name: str, namespace: str | None = None) -> Object | None:
        """`get`, or None where there is no such object."""
        try:
            return await self.get(resource, name, namespace)
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    async def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE,
        accept: str | None = None,
        start: str | None = None,
    ) -> AsyncIterator[Object]:
        """A list at one resource version, ``limit`` objects at a time; ``start``: the continue token it begins with."""
        params: dict[str, str | int | None] = {
            "limit": limit,
            "continue": start,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        while True:
            page = await self._object("GET", resource.path(namespace), params=params, accept=accept)
            page["items"] = page.get("items") or []
            yield page
            params["continue"] = (page.get("metadata") or {}).get("continue") or None
            if params["continue"] is None:
                return

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        limit: int = PAGE,
        accept: str | None = None,
    ) -> Object:
        """The whole list at one resource version, read in pages of ``limit``."""
        whole: Object | None = None
        async for page in self.pages(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            limit=limit,
            accept=accept,
        ):
            if whole is None:
                whole = page
            else:
                whole["items"] += page["items"]
                whole["metadata"] = page["metadata"]
        assert whole is not None
        return whole

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
        where = namespace or obj.get("metadata", {}).get("namespace")
        return await self._object("POST", resource.path(where if resource.namespaced else None), body=obj)

    async def replace(self, resource: Resource, obj: Object, subresource: str | None = None) -> Object:
        meta = obj["metadata"]
        path = resource.path(meta.get("namespace"), meta["name"], subresource)
        return await self._object("PUT", path, body=obj)

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Body,
        namespace: str | None = None,
        *,
        kind: str = "merge",
        subresource: str | None = None,
    ) -> Object:
        """``kind``: merge, json or strategic."""
        path = resource.path(namespace, name, subresource)
        return await self._object("PATCH", path, body=body, params=UNCHECKED, content_type=PATCH_TYPES[kind])

    async def apply(
        self,
        resource: Resource,
        obj: Object,
        *,
        manager: str,
        force: bool = True,
        subresource: str | None = None,
    ) -> Object:
        """Server-side apply; ``obj`` needs apiVersion, kind and metadata.name."""
        meta = obj["metadata"]
        return await self._object(
            "PATCH",
            resource.path(meta.get("namespace"), meta["name"], subresource),
            body=obj,
            params={"fieldManager": manager, "force": "true" if force else None, **UNCHECKED},
            content_type="application/apply-patch+yaml",
        )

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        propagation: str | None = None,
        uid: str | None = None,
        version: str | None = None,
    ) -> Object:
        """``propagation``: Foreground, Background or Orphan; ``uid``, ``version`` (a resource version): only that very
        object, as it was then (409 otherwise)."""
        options: Object = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        preconditions = {"uid": uid, "resourceVersion": version}
        if uid or version:
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        return await self._object("DELETE", resource.path(namespace, name), body=options)

    async def delete_collection(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        propagation: str | None = None,
    ) -> Object:
        """``propagation``: as of `delete`."""
        params = {"labelSelector": label_selector, "propagationPolicy": propagation}
        return await self._object("DELETE", resource.path(namespace), params=params)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str | None = None,
        field_selector: str | None = None,
        accept: str | None = None,
        timeout: int = 300,
    ) -> AsyncIterator[Object]:
        """Raw events (``{"type":…, "object":…}``, bookmarks too) until the server ends the watch, after ``timeout``
        seconds at the latest. StatusError 410 when ``resource_version`` is too old, in the answer or as an event.
        """
        params: dict[str, str | int | None] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": timeout,
        }
        send = self._request_headers(None)
        if accept:
            send["Accept"] = accept
        began = time.monotonic()
        limits = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=timeout + 30)
        try:
            async with self._open().get(
                self._url(resource.path(namespace), params),
                headers=send,
                timeout=limits,
                server_hostname=self.connection.tls_server_name,
                allow_redirects=False,
            ) as response:
                if self._observe is not None:
                    self._observe("WATCH", response.status, time.monotonic() - began)
                if response.status >= 300:
                    raise self._failure(response.status, _decode(await self._whole(response)))
                async for line in _lines(response.content, self._check):
                    event: Object = orjson.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise StatusError.of_body(int(status.get("code") or 500), status)
                    yield event
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise StatusError(503, f"watch of {self.connection.server} broke: {error}") from error

    async def _object(self, method: str, path: str, **options: Any) -> Object:
        value = await self.request(method, path, **options)
        if not isinstance(value, dict):
            raise StatusError(502, f"{method} {path}: the answer is not a JSON object")
        return value


ALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""Socket options, where there are such: a watch whose other end is cut off is known to be dead after 30 s."""


def keep_alive(connection: socket.socket) -> None:
    """Make TCP notice an end that is cut off, by `ALIVE`."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in ALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def sockets(guard: Callable[[str], None] | None) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Makes sockets for addresses as `socket.getaddrinfo` gives them, those that ``guard`` lets pass. Here, and not
    where a name is looked up: it may mean another address the next time."""

    def make(address: tuple[Any, ...]) -> socket.socket:
        if guard is not None:
            guard(address[4][0])
        made = socket.socket(*address[:3])
        keep_alive(made)
        return made

    return make


async def _lines(stream: aiohttp.StreamReader, check: Callable[[int], None]) -> AsyncIterator[bytes]:
    """``check`` is called with the size of a line that grows."""
    # StreamReader.readline fails over its buffer's limit, and events may be megabytes: pieces are kept until a line
    # is whole.
    pieces: list[bytes] = []
    size = 0
    async for chunk in stream.iter_any():
        *whole, rest = chunk.split(b"\n")
        size = len(rest) if whole else size + len(rest)
        check(size)
        for line in whole:
            if pieces:
                pieces.append(line)
                line = b"".join(pieces)
                pieces = []
            if line:
                yield line
        if rest:
            pieces.append(rest)


def _decode(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode("utf-8", "replace")
