"""The shard's questions about objects of CRDs in another version: put to the workspace's webhook in its own words.

``/admission/convert/…`` of every worker (`proxy.mapping.detours`). Who asks shows the secret that stands in the CRD on
the shard; anybody else learns nothing. The answer goes back in the shard's names, and the shard looks at it as ever: of
the same objects, nothing but labels, annotations and content may be new. Words are those of
``k8s.io/apiextensions-apiserver/pkg/apiserver/conversion``.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping
from typing import Any

import orjson

from proxy.admission.calls import Caller, CallError
from proxy.admission.converting import Detours
from proxy.admission.counts import ALLOWED, CONVERTING, FAILED
from proxy.admission.patience import Impatient, Patience
from proxy.discovery import Discovery, Scopes
from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from proxy.mapping.detours import Asked, Converter, Detour, asked_of
from proxy.mapping.names import map_crd_name
from proxy.mapping.objects import Context, map_object
from proxy.mapping.paths import RequestInfo
from proxy.mapping.shared import holds_identity
from proxy.mapping.stream import strip_bytes
from proxy.mapping.token import LABEL
from proxy.server.messages import Header, Reply
from proxy.tenancy.index import WorkspaceIndex

WITHIN = 9.5
"""Seconds for an answer: controllers of the shard ask as well, which others need."""
RESTS = 10.0
"""Seconds that a webhook is not asked after it did not answer in time."""
KIND, VERSIONS = "ConversionReview", ("apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1")
_KEPT = ("name", "namespace", "uid", "labels", "annotations")
"""Of metadata, what the shard compares or takes; all else it keeps as it was."""
_JSON: Header = (b"content-type", b"application/json")


class Failed(Exception):
    """No objects; worded as the error that a kube-apiserver would have got."""


class Conversions:
    """Of one worker."""

    def __init__(
        self,
        *,
        index: WorkspaceIndex,
        discovery: Discovery,
        detours: Detours,
        shards: Mapping[str, object],
        caller: Caller,
    ) -> None:
        """``shards``: that ask the proxy."""
        self._index = index
        self._discovery = discovery
        self._detours = detours
        self._shards = shards
        self._caller = caller
        self._patience = Patience()
        self._resting: dict[str, tuple[float, str]] = {}
        """By URL: until when, and what was said."""

    async def reply(self, target: bytes, body: bytes) -> Reply:
        """Raises StatusError 403 for who does not know the secret."""
        asked = asked_of(target)
        converter = await self._converter(asked) if asked is not None else None
        if asked is None or converter is None:
            raise StatusError(403, "forbidden: only shards may ask that")
        try:
            question: Object = orjson.loads(strip_bytes(body, asked.token))
            uid, version = str(question["request"]["uid"]), str(question["apiVersion"])
            originals = [dict(obj["metadata"]) for obj in question["request"]["objects"]]
        except (ValueError, KeyError, TypeError) as error:
            raise StatusError(400, f"not a {KIND}") from error
        began, result = time.monotonic(), ALLOWED
        response: Object = {"uid": uid, "result": {"status": "Success"}}
        try:
            answer = await self._ask(asked.token, converter, orjson.dumps(question))
            objects = _objects_of(answer, uid, version)
            response["convertedObjects"] = self._mapped(asked, objects, originals)
        except Failed as error:
            result = FAILED
            response["result"] = {"status": "Failed", "message": str(error)}
        finally:
            self._caller.counts.add(CONVERTING, result, time.monotonic() - began)
        return Reply(200, [_JSON], orjson.dumps({"kind": KIND, "apiVersion": version, "response": response}))

    async def _converter(self, asked: Asked) -> Converter | None:
        """What stands on the shard that asks. It may be younger than what is known here: then there is a look at it,
        for who shows the secret that a CRD written now would get."""
        name = map_crd_name(asked.crd, f"{asked.token}-")
        if (found := self._known(asked, name)) is not None:
            return found
        for shard in self._shards:  # a workspace that moves is on two
            try:
                detour = self._detours.of(shard)
                if detour is not None and not isinstance(detour, Detour):
                    detour = await detour
            except StatusError:
                continue
            if detour is not None and hmac.compare_digest(detour.secret(asked.token, asked.crd), asked.secret):
                await self._discovery.catch_up_crd(shard, name)
        return self._known(asked, name)

    def _known(self, asked: Asked, name: str) -> Converter | None:
        for shard in self._shards:
            converter = self._discovery.converters(shard).get(name)
            if converter is not None and converter.answers(asked):
                return converter
        return None

    async def _ask(self, token: str, converter: Converter, question: bytes) -> Any:
        until, said = self._resting.get(converter.url, (0.0, ""))
        began = time.monotonic()
        if began < until:
            raise Failed(said)
        try:
            async with self._patience.turn(token):
                left = WITHIN - (time.monotonic() - began)
                answer = await self._caller.post(token, converter.config(), question, left)
        except Impatient:
            raise Failed(f'Post "{converter.url}": too many questions wait for an answer') from None
        except CallError as error:
            if time.monotonic() - began >= WITHIN:
                self._resting = {url: rest for url, rest in self._resting.items() if rest[0] > began}
                self._resting[converter.url] = time.monotonic() + RESTS, str(error)
            raise Failed(str(error)) from error
        self._resting.pop(converter.url, None)
        return answer

    def _mapped(self, asked: Asked, objects: list[Any], originals: list[Object]) -> list[Any]:
        """Raises Failed."""
        held = orjson.dumps(objects)
        if asked.token.encode() in held or holds_identity(held):
            raise Failed("the answer holds a word that is reserved in this workspace, which would not be kept")
        workspace = self._index.by_token(asked.token)
        if workspace is None:
            raise Failed("the workspace is gone")
        plural, _, group = asked.crd.partition(".")
        scopes = Scopes(self._discovery, workspace)
        made = []
        for index, obj in enumerate(objects):
            original = originals[index] if index < len(originals) else {}
            meta = obj.get("metadata", {}) if isinstance(obj, dict) else None
            if not isinstance(meta, dict):
                made.append(obj)  # of which the shard says what is wrong with it
                continue
            info = RequestInfo(
                "update", group, "", plural, "", str(original.get("namespace") or ""), str(meta.get("name") or ""),
                is_resource=True,
            )  # fmt: skip
            context = Context(info, f"{asked.token}-", scopes, complete=False)
            try:
                kept = {"metadata": {key: meta[key] for key in _KEPT if key in meta}} if "metadata" in obj else {}
                mapped = map_object(obj | kept, context)
            except StatusError as error:
                raise Failed(error.message) from error
            labels = mapped.get("metadata", {}).get("labels")
            if kept and (labels is None or isinstance(labels, dict)):
                mapped["metadata"]["labels"] = {**(labels or {}), LABEL: asked.token}
            made.append(mapped)
        return made


def _objects_of(answer: Any, uid: str, version: str) -> list[Any]:
    """Raises Failed."""
    review: Object = answer if isinstance(answer, dict) else {}
    response = review.get("response")
    said = str(review.get("apiVersion") or ""), str(review.get("kind") or "")
    if said[0] in VERSIONS and said[1] != KIND:
        raise Failed(f'no kind "{said[1]}" is registered for version "{said[0]}" in scheme "pkg/runtime/scheme.go:111"')
    if version == VERSIONS[0] and said[0] != version:
        raise Failed(f"expected webhook response of {version}, Kind={KIND}, got {said[0]}, Kind={said[1]}")
    if not isinstance(response, dict):
        raise Failed("no response provided")
    if version == VERSIONS[0] and response.get("uid") != uid:
        got = orjson.dumps(str(response.get("uid") or "")).decode()
        raise Failed(f'expected response.uid="{uid}", got {got}')
    result = response.get("result")
    status: Object = result if isinstance(result, dict) else {}
    if status.get("status") != "Success":
        why = f"response.result.status was '{status.get('status') or ''}', not 'Success'"
        raise Failed(str(status.get("message") or why))
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []
