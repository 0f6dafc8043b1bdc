"""OpenAPI documents cut down to what a workspace serves.

A document of a shard speaks of all its resources (and, in version 2, of all workspaces' CRDs): only the paths of served
resources stay, and only the schemas that these reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import orjson

_REFERENCE = re.compile(rb'"#/(?:components/schemas|definitions)/([^"]+)"')
_KIND = "x-kubernetes-group-version-kind"


def filter_v3(body: bytes, keep: Callable[[str], bool]) -> bytes:
    """A group version's document with the ``paths`` that ``keep`` wants."""
    spec: dict[str, Any] = orjson.loads(body)
    spec["paths"] = {path: item for path, item in (spec.get("paths") or {}).items() if keep(path)}
    schemas = (spec.get("components") or {}).get("schemas") or {}
    spec.setdefault("components", {})["schemas"] = reachable(schemas, orjson.dumps(spec["paths"]))
    return orjson.dumps(spec)


def filter_v2(body: bytes, keep: Callable[[str], bool]) -> bytes:
    """The same for the one document of OpenAPI version 2."""
    spec: dict[str, Any] = orjson.loads(body)
    spec["paths"] = {path: item for path, item in (spec.get("paths") or {}).items() if keep(path)}
    spec["definitions"] = reachable(spec.get("definitions") or {}, orjson.dumps(spec["paths"]))
    return orjson.dumps(spec)


def reachable(schemas: dict[str, Any], start: bytes) -> dict[str, Any]:
    """The schemas that ``start`` refers to, directly or through others."""
    found: dict[str, Any] = {}
    waiting = list(_references(start))
    while waiting:
        name = waiting.pop()
        if name in found or name not in schemas:
            continue
        found[name] = schemas[name]
        waiting += _references(orjson.dumps(schemas[name]))
    return {name: schemas[name] for name in schemas if name in found}


def _references(data: bytes) -> Iterable[str]:
    return {name.decode().replace("~1", "/").replace("~0", "~") for name in _REFERENCE.findall(data)}


def resource_of_path(path: str) -> tuple[str, str, str] | None:
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
