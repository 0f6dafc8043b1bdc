"""OpenAPI version 3 documents cut down to what a workspace serves, and freed of what names it on the shard.

A group version's document of a shard speaks of all its resources: only the paths of served ones stay, and only the
schemas that these reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import orjson

from proxy.discovery.catalog import GroupVersionResource
from proxy.mapping.shared import LENGTH, plain_group
from proxy.mapping.stream import strip_bytes

Spec = dict[str, Any]

_REFERENCE = re.compile(rb'"#/components/schemas/([^"]+)"')


def filtered(spec: Spec, keep: Callable[[str], bool]) -> Spec:
    """The document with the ``paths`` that ``keep`` wants."""
    paths = {path: item for path, item in (spec.get("paths") or {}).items() if keep(path)}
    components = spec.get("components") or {}
    schemas = reachable(components.get("schemas") or {}, orjson.dumps(paths))
    return spec | {"paths": paths, "components": components | {"schemas": schemas}}


def reachable(schemas: Spec, start: bytes) -> Spec:
    """The schemas that ``start`` refers to, directly or through others."""
    found: set[str] = set()
    waiting = set(_references(start))
    while waiting:
        name = waiting.pop()
        if name in schemas and name not in found:
            found.add(name)
            waiting.update(_references(orjson.dumps(schemas[name])))
    return {name: schema for name, schema in schemas.items() if name in found}


def _references(data: bytes) -> Iterable[str]:
    return (name.decode().replace("~1", "/").replace("~0", "~") for name in _REFERENCE.findall(data))


def merged(specs: Sequence[Spec]) -> Spec:
    """One document of several that speak of different kinds, in plain names."""
    first, *others = specs
    if not others:
        return first
    paths: Spec = {}
    schemas: Spec = {}
    for spec in specs:
        paths |= spec.get("paths") or {}
        schemas |= (spec.get("components") or {}).get("schemas") or {}
    return first | {"paths": dict(sorted(paths.items())), "components": {**first["components"], "schemas": schemas}}


def plain(spec: Spec, token: str, group: str) -> bytes:
    """The document of a private group of the shard, or of a shared one, as a workspace knows it, as JSON.

    The prefix stands in paths, schema names and group names; in operation ids and tags it has become part of a word
    in camel case (``listK3fq7zn2aExampleComV1Widget``, ``k3fq7zn2aExampleCom_v1``).
    """
    data = strip_bytes(orjson.dumps(spec), token)
    data = re.sub(re.escape(token.encode()) + rb"(.)", lambda match: match[1].lower(), data)
    data = data.replace(token.capitalize().encode(), b"")
    if plain_group(group) is None:
        return data
    front = rb'("?)[kK]' + group[2 : LENGTH - 1].encode() + rb"(.)"  # a word does not begin with a digit
    return re.sub(front, lambda match: match[1] + (match[2].lower() if match[1] else match[2]), data)


def resource_of_path(path: str) -> GroupVersionResource | None:
    """Group, version and resource that a path template is about; None for one that is about none (discovery)."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"]:
        group, rest = "", parts[1:]
    elif parts[:1] == ["apis"] and len(parts) > 2:
        group, rest = parts[1], parts[2:]
    else:
        return None
    if len(rest) < 2 or rest[1] == "watch":
        return None
    version, rest = rest[0], rest[1:]
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        rest = rest[2:]
    return (group, version, rest[0])


def subresource_of_path(path: str) -> str:
    """``status`` of ``/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status``; empty where there is none."""
    _, brace, rest = path.partition("/{name}/")
    return rest.partition("/")[0] if brace else ""


def path_of(group: str, version: str) -> str:
    """What OpenAPI calls a group version: ``api/v1``, ``apis/apps/v1``."""
    return f"apis/{group}/{version}" if group else f"api/{version}"
