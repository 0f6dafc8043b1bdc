"""Request bodies in every encoding: decoded, mapped, encoded again; what cannot be read is refused."""

from __future__ import annotations

import json
from typing import Any

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping import yaml11
from proxy.mapping.jsonpatch import map_json_patch
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS, map_api_version
from proxy.mapping.objects import Context, literal_token, map_object
from proxy.mapping.protobuf import map_protobuf
from proxy.mapping.shape import text

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCHES = frozenset({"application/merge-patch+json", "application/strategic-merge-patch+json"})
BODIES = frozenset({JSON, YAML, PROTOBUF})
PATCHES = MERGE_PATCHES | {APPLY, JSON_PATCH}
DELETES = frozenset({"delete", "deletecollection"})


def map_body(body: bytes, content_type: str, context: Context) -> tuple[bytes, str]:
    """The body for the shard and its content type.

    Raises StatusError: 415 for a content type that the verb does not take, 400 for a malformed body, 403 and 422 for
    content that is not a workspace's to write or cannot be mapped.
    """
    verb = context.info.verb
    media = content_type.partition(";")[0].strip().lower()
    if not media and verb != "patch":
        media = JSON
    accepted = PATCHES if verb == "patch" else BODIES
    if media not in accepted:
        raise unsupported(context)
    token = context.prefix[:-1].encode()
    if token in body:
        raise literal_token(context)
    if media == PROTOBUF:
        return map_protobuf(body, context), PROTOBUF
    value = _load_yaml(body) if media in (YAML, APPLY) else _load_json(body, context)
    # An escape may have hidden the token from the look at the raw bytes.
    if (b"\\" in body or media in (YAML, APPLY)) and token in _dump(value):
        raise literal_token(context)
    if media == JSON_PATCH:
        return _dump(map_json_patch(value, context)), media
    if not isinstance(value, dict):
        raise StatusError(400, f"the object provided is unrecognized: expected a JSON object, got {_kind(value)}")
    mapped = _delete_options(value, context) if verb in DELETES else map_object(value, context)
    return _dump(mapped), JSON if media == YAML else media


def _delete_options(options: dict[str, Any], context: Context) -> dict[str, Any]:
    """Clients of custom resources send DeleteOptions as a kind of the resource's own group."""
    if context.info.group not in NATIVE_GROUPS and text(options, "apiVersion"):
        options["apiVersion"] = map_api_version(options["apiVersion"], context.prefix)
    return options


def _load_json(body: bytes, context: Context) -> Any:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise StatusError(
            400, f"the object provided is unrecognized: couldn't get version/kind; json parse error: {error}"
        ) from None
    if context.info.first("fieldValidation") == "Strict" and body.count(b'"') != _dump(value).count(b'"'):
        # Either escapes make the difference, or duplicate fields that decoding has dropped.
        json.loads(body, object_pairs_hook=_without_duplicates)
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise StatusError(400, f'strict decoding error: duplicate field "{key}"')
        seen.add(key)


def _load_yaml(body: bytes) -> Any:
    try:
        return orjson.loads(body)  # kubectl sends apply configurations as JSON under YAML's name
    except orjson.JSONDecodeError:
        pass
    try:
        return yaml11.load(body)
    except yaml11.YAMLTooLarge as error:
        raise StatusError(413, f"Request entity too large: {error}") from None
    except yaml11.YAMLError as error:
        raise StatusError(400, f"error decoding YAML: {error}") from None


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except (orjson.JSONEncodeError, RecursionError):
        raise StatusError(400, "the body of the request cannot be read: it is nested too deeply") from None


def unsupported(context: Context) -> StatusError:
    """415 in the words that a kube-apiserver has for the verb and the kind of resource."""
    listed = (JSON, YAML, PROTOBUF)
    if context.info.verb == "patch":
        if context.info.group in NATIVE_GROUPS and context.info.group not in KCP_GROUPS:
            return StatusError(415, "415: Unsupported Media Type", details={})
        listed = (JSON_PATCH, "application/merge-patch+json", APPLY)
    return StatusError(
        415, f"the body of the request was in an unknown format - accepted media types include: {', '.join(listed)}"
    )


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else type(value).__name__
