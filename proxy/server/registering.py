"""Writes of a workspace's admission configurations (`proxy.mapping.registrations`).

What is to be stored is first created, in a dry run, as the shard's own kind: whatever a kube-apiserver finds wrong
with it is said in its words, defaults are its own, and a body may be in any encoding that it reads. What comes of that
is stored where the shard does not obey it. A merge or JSON patch is applied by the shard in a dry run, a strategic one
here; the result is stored as a whole, in the version that was patched, and a patch that was overtaken is applied anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.mapping.protobuf import MAGIC, open_envelope
from proxy.mapping.registrations import GROUP, KINDS, STORED_GROUP, VERSION
from proxy.mapping.strategic import merged
from proxy.mapping.stream import strip_bytes
from proxy.mapping.wire import Field, Schema, WireError, decode, encode, field
from proxy.server.messages import Exchange, Forward, Header, Produce, Response
from proxy.server.settling import FRAMING, let_in

JSON = b"application/json"
MERGE, JSON_PATCH = b"application/merge-patch+json", b"application/json-patch+json"
STRATEGIC, APPLY = b"application/strategic-merge-patch+json", b"application/apply-patch+yaml"
ATTEMPTS = 5
"""At a patch that is overtaken, as a kube-apiserver (``MaxRetryWhenPatchConflicts``)."""
_GIVEN = ("uid", "creationTimestamp", "generation", "managedFields", "selfLink", "resourceVersion")
_META: Schema = {1: Field("metadata", {1: Field("name"), 6: Field("resourceVersion")})}
_NATIVE, _STORED = f"{GROUP}/{VERSION}", f"{STORED_GROUP}/{VERSION}"

Ask = Callable[[bytes, bytes, bytes, bytes, bytes], Forward]
"""Method, target, body, content type, accepted type → a request that has passed the gate."""
Check = Callable[[dict[str, Any]], None]


class _Answered(Exception):
    """The shard has said no."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Registering:
    """One write."""

    info: RequestInfo
    token: str
    target: bytes
    """Where the object stands on the shard, with the client's parameters."""
    body: bytes
    content_type: bytes
    accept: bytes
    ask: Ask
    check: Check
    """Raises StatusError for what is good in a cluster and cannot be had in a workspace; given the object with names
    as on the shard."""

    def produce(self) -> Produce:
        return Produce(self._run)

    async def _run(self, exchange: Exchange) -> None:
        warnings: list[Header] = []
        try:
            if self.info.verb == "create":
                answer = await self._create(exchange, warnings)
            elif self.info.verb == "update":
                answer = await self._update(exchange, warnings)
            elif self.content_type == APPLY:
                answer = await self._apply(exchange, warnings)
            elif self.content_type in (MERGE, JSON_PATCH, STRATEGIC):
                answer = await self._patch(exchange, warnings)
            else:  # which the shard refuses
                answer = await self._fetch(exchange, b"PATCH", self.target, self.body, self.content_type)
        except _Answered as refused:
            answer = refused.answer
        kept = [header for header in answer.headers if header[0] not in FRAMING]
        headers = [(name, strip_bytes(value, self.token)) for name, value in (*kept, *warnings)]
        await exchange.start(answer.status, list(dict.fromkeys(headers)))
        await exchange.write(strip_bytes(answer.body, self.token))
        await exchange.end()

    async def _create(self, exchange: Exchange, warnings: list[Header]) -> Response:
        tried = await self._try(exchange, self.body, self.content_type, warnings)
        return await self._fetch(exchange, b"POST", self.target, _stored(tried, self.body))

    async def _update(self, exchange: Exchange, warnings: list[Header]) -> Response:
        body, version, name = without_version(self.body, self.info.name, f"{self.token}-")
        if not version:  # which is refused, and before anything else is looked at
            named = {"name": name}
            empty = {"apiVersion": _STORED, "kind": KINDS[self.info.resource], "metadata": named}
            target = with_parameters(self.target, dryRun="All")
            refused = await self._fetch(exchange, b"PUT", target, orjson.dumps(empty))
            if refused.status >= 400:
                return refused
        tried = await self._try(exchange, body, self.content_type, warnings)
        if version:
            tried["metadata"]["resourceVersion"] = version
        return await self._fetch(exchange, b"PUT", self.target, _stored(tried, self.body))

    async def _patch(self, exchange: Exchange, warnings: list[Header]) -> Response:
        for attempt in range(ATTEMPTS):
            patched = await self._patched(exchange)
            version = patched["metadata"].get("resourceVersion")
            tried = await self._try(exchange, _native(patched), JSON, warnings if not attempt else [], validation=False)
            tried["metadata"]["resourceVersion"] = version
            answer = await self._fetch(exchange, b"PUT", self.target, _stored(tried, b""))
            if answer.status != 409:
                break
        return answer

    async def _patched(self, exchange: Exchange) -> dict[str, Any]:
        """The object after the patch, as it stands on the shard."""
        if self.content_type != STRATEGIC:
            target = with_parameters(self.target, dryRun="All")
            return _object(await self._fetch(exchange, b"PATCH", target, self.body, self.content_type, accept=JSON))
        path = self.target.partition(b"?")[0]
        current = _object(await self._fetch(exchange, b"GET", path + b"?pretty=false", b"", b"", accept=JSON))
        try:
            patch = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise StatusError(400, f"error decoding patch: {error}") from None
        if not isinstance(patch, dict):
            raise StatusError(400, "error decoding patch: json: cannot unmarshal into Go value of type map")
        made = merged(current, patch, KINDS[self.info.resource])
        version = made["metadata"].get("resourceVersion")
        if version != current["metadata"]["resourceVersion"]:
            what, name = f"{self.info.resource}.{GROUP}", self.info.name
            why = "the object has been modified; please apply your changes to the latest version and try again"
            details = {"name": name, "group": GROUP, "kind": self.info.resource}
            raise StatusError(409, f'Operation cannot be fulfilled on {what} "{name}": {why}', details=details)
        return made

    async def _apply(self, exchange: Exchange, warnings: list[Header]) -> Response:
        body = self.body.replace(f'"{_NATIVE}"'.encode(), f'"{_STORED}"'.encode())
        tried = await self._fetch(
            exchange, b"PATCH", with_parameters(self.target, dryRun="All"), body, APPLY, accept=JSON
        )
        await self._try(exchange, _native(_object(tried)), JSON, warnings, validation=False)
        return await self._fetch(exchange, b"PATCH", self.target, body, APPLY)

    async def _try(
        self, exchange: Exchange, body: bytes, content_type: bytes, warnings: list[Header], *, validation: bool = True
    ) -> dict[str, Any]:
        """What the shard would make of the object; nothing is stored. Raises _Answered, StatusError."""
        kept = ("fieldManager", "fieldValidation") if validation else ()
        given = [(key, value) for key, value in parse_qsl(self.target.partition(b"?")[2].decode()) if key in kept]
        query = urlencode([*given, ("dryRun", "All"), ("pretty", "false")])
        target = f"/apis/{_NATIVE}/{self.info.resource}?{query}".encode()
        answer = await self._fetch(exchange, b"POST", target, body, content_type, accept=JSON)
        if answer.status != 201:
            raise _Answered(answer)
        warnings += [header for header in answer.headers if header[0] == b"warning"]
        tried = _object(answer)
        await asyncio.to_thread(self.check, tried)
        return tried

    async def _fetch(
        self,
        exchange: Exchange,
        method: bytes,
        target: bytes,
        body: bytes,
        content_type: bytes = JSON,
        *,
        accept: bytes = b"",
    ) -> Response:
        # What is stored on the shard is of CRDs as well, which are young where kcp has just been started.
        return await let_in(self.ask(method, target, body, content_type, accept or self.accept), exchange)


def with_parameters(target: bytes, **parameters: str) -> bytes:
    """The same request with other values of these query parameters."""
    path, _, query = target.partition(b"?")
    kept = [pair for pair in parse_qsl(query.decode(), keep_blank_values=True) if pair[0] not in parameters]
    return path + b"?" + urlencode([*kept, *parameters.items()]).encode()


def without_version(body: bytes, name: str, prefix: str) -> tuple[bytes, str, str]:
    """A body that may be created, the version on which it rests and the name in it, or else ``name`` behind the
    ``prefix``. What cannot be read stays as it is."""
    try:
        if body.startswith(MAGIC):
            type_meta, content = open_envelope(body)
            values = decode(content, _META)
            meta = values.get("metadata") or {}
            version = meta.pop("resourceVersion", "")
            sent = MAGIC + field(1, type_meta) + field(2, encode(content, _META, values))
            return sent, version, meta.get("name") or prefix + name
        obj = orjson.loads(body)
    except (WireError, ValueError):
        return body, "", prefix + name
    meta = obj.get("metadata") if isinstance(obj, dict) else None
    if not isinstance(meta, dict):
        return body, "", prefix + name
    version = meta.pop("resourceVersion", "")
    for key in _GIVEN:
        meta.pop(key, None)
    meta.setdefault("name", prefix + name)
    return orjson.dumps(obj), version if isinstance(version, str) else "", str(meta["name"])


def _object(answer: Response) -> dict[str, Any]:
    if answer.status not in (200, 201):
        raise _Answered(answer)
    value: dict[str, Any] = orjson.loads(answer.body)
    return value


def _native(stored: dict[str, Any]) -> bytes:
    """To be tried: as if it were new."""
    meta = {key: value for key, value in stored["metadata"].items() if key not in _GIVEN}
    return orjson.dumps({**stored, "apiVersion": _NATIVE, "metadata": meta})


def _stored(tried: dict[str, Any], body: bytes) -> bytes:
    meta = dict(tried["metadata"])
    version = meta.get("resourceVersion")
    for key in _GIVEN:
        meta.pop(key, None)
    if version:
        meta["resourceVersion"] = version
    if meta.get("generateName") and meta["name"].encode() not in body:
        del meta["name"]  # made up in the dry run
    return orjson.dumps({**tried, "apiVersion": _STORED, "metadata": meta})
