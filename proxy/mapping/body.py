"""Request bodies in every encoding: decoded, mapped, encoded again; what cannot be read is refused."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping import yaml11
from proxy.mapping.jsonpatch import map_json_patch
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS
from proxy.mapping.objects import Context, literal_token, map_object, map_own_version, own_version
from proxy.mapping.protobuf import MAGIC, map_protobuf
from proxy.mapping.registrations import is_registration
from proxy.mapping.revisions import body_inward
from proxy.mapping.shape import Object, mapping, text
from proxy.mapping.shared import holds_identity

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCHES = frozenset({"application/merge-patch+json", "application/strategic-merge-patch+json"})
BODIES = frozenset({JSON, YAML, PROTOBUF})
PATCHES = MERGE_PATCHES | {APPLY, JSON_PATCH}
UNKNOWN = "application/x-unknown"
"""A content type that no server takes, for bodies in one that the verb does not."""
DELETES = frozenset({"delete", "deletecollection"})


def map_body(body: bytes, content_type: str, context: Context) -> tuple[bytes, str]:
    """The body for the shard and its content type.

    Versions anywhere in it are mapped as answers show them, so that what was read can be written back.

    A body of which it is certain that the shard can make nothing (another content type, no JSON, no object) goes on,
    or an empty one in its place: what is wrong with the request, and in which order, is then said as ever.
    Raises StatusError: 400 for a body that might be read in two ways, 403 and 422 for content that is not a workspace's
    to write or cannot be mapped.
    """
    mapped, sent_as = _mapped(body, content_type, context)
    return (mapped if sent_as == PROTOBUF else body_inward(mapped, context.moves)), sent_as


def _mapped(body: bytes, content_type: str, context: Context) -> tuple[bytes, str]:
    verb = context.info.verb
    media = _media(content_type, verb)
    if not media:
        return b"{}", UNKNOWN
    token = context.prefix[:-1].encode()
    if token in body or holds_identity(body):
        raise literal_token(context, body)
    if media == PROTOBUF:
        if body.startswith(MAGIC) or (context.info.group not in NATIVE_GROUPS and verb not in DELETES):
            return map_protobuf(body, context), PROTOBUF
        return body, PROTOBUF
    if media in (YAML, APPLY):
        value = _load_yaml(body)
    else:
        try:
            value = load_json(body)
        except json.JSONDecodeError:
            return body, media
    # An escape may have hidden the token from the look at the raw bytes.
    if b"\\" in body or media in (YAML, APPLY):
        read = _dump(value)
        if token in read or holds_identity(read):
            raise literal_token(context, read)
    sent_as = JSON if media == YAML else media
    if media == JSON_PATCH:
        return _dump(map_json_patch(value, context)), media
    if value is None and verb not in ("patch", *DELETES) and map_object({}, context):
        value = {}  # as Go reads it, and there is something to add
    if not isinstance(value, dict):
        return _dump(value), sent_as
    if verb in DELETES:
        return _dump(_delete_options(value, context)), sent_as
    mapped = _dump(map_object(value, context), sort=media in (YAML, APPLY))
    if media in (JSON, *MERGE_PATCHES) and mapped.count(b'"') < body.count(b'"'):
        # Either escapes make the difference, or fields that stand there twice.
        mark = f"-{secrets.token_hex(8)}"
        typed = media == JSON and context.info.group in NATIVE_GROUPS - KCP_GROUPS
        again = map_object(load_json(body, partial(_twice, mark, typed)), context)
        mapped = _dump(again).replace(mark.encode(), b"")
    return mapped, sent_as


def _media(content_type: str, verb: str) -> str:
    """The media type, empty for one that the verb does not take; read as ``PatchResource`` and
    ``NegotiateInputSerializer`` do."""
    media, semicolon, _ = content_type.partition(";")
    if verb == "patch":
        return media if media in PATCHES else ""
    media = media.strip().lower()
    if not media and not semicolon:
        return JSON
    return media if media in BODIES else ""


def _delete_options(options: dict[str, Any], context: Context) -> dict[str, Any]:
    """Clients of custom resources send DeleteOptions as a kind of the resource's own group."""
    own = context.info.group not in NATIVE_GROUPS or is_registration(context.info.group, context.info.resource)
    if own and text(options, "apiVersion"):
        options["apiVersion"] = map_own_version(options["apiVersion"], context)
    conditions = mapping(options, "preconditions")
    if context.moves and conditions and text(conditions, "resourceVersion"):
        conditions["resourceVersion"] = own_version(conditions["resourceVersion"], context)
    return options


def load_json(body: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """As Go reads it: what is no UTF-8, and halves of surrogate pairs, become U+FFFD. ``pairs``: what an object is
    made of, as for json.loads.

    Raises json.JSONDecodeError for what is no JSON to anybody, StatusError 400 for what is some, but cannot be kept.
    """
    if pairs is None:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass
    try:
        value = json.loads(body.decode("utf-8", "replace"), parse_constant=_no_constant, object_pairs_hook=pairs)
        if pairs is not None:
            return value
        return orjson.loads(_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False, allow_nan=False)))
    except json.JSONDecodeError as error:
        if type(error) is json.JSONDecodeError:
            raise
    except (ValueError, RecursionError):
        pass
    raise StatusError(400, "the body of the request cannot be read: a number is too large or it is nested too deeply")


_SURROGATE = re.compile("[\ud800-\udfff]")


def _no_constant(word: str) -> Any:
    raise json.JSONDecodeError("not JSON", word, 0)


def _twice(mark: str, typed: bool, pairs: list[tuple[str, Any]]) -> Object:
    """An object in which a field that stands there twice is kept twice: the last one counts, and in front of it there
    is an empty one, its name marked, so that the shard warns of it or refuses it.

    ``typed``: whether Go reads it into a struct, in which the later of two objects adds to the earlier one.
    """
    made: Object = {}
    for key, value in pairs:
        if key in made:
            earlier = made.pop(key)
            made[key + mark] = None
            if typed and isinstance(earlier, dict) and isinstance(value, dict):
                value = _merged(earlier, value)
        made[key] = value
    return made


def _merged(earlier: Object, later: Object) -> Object:
    both = {
        key: _merged(earlier[key], value)
        for key, value in later.items()
        if isinstance(value, dict) and isinstance(earlier.get(key), dict)
    }
    return earlier | later | both


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


def _dump(value: Any, *, sort: bool = False) -> bytes:
    """``sort``: keys in the order in which Go makes JSON of YAML."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else None)
    except (orjson.JSONEncodeError, RecursionError):
        raise StatusError(400, "the body of the request cannot be read: it is nested too deeply") from None
