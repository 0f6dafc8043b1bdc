"""The lowest common denominator of two structural schemas: what objects may hold that go to both clusters."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


class Incompatible(Exception):
    """Two schemas that no object can satisfy in a useful way; ``path`` says where."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or 'schema'}: {why}")
        self.path = path


def common(one: Schema, other: Schema, path: str = "") -> Schema:
    """The schema of what both accept. Raises Incompatible with the path of the first conflict."""
    if one == other:
        return one
    kinds = one.get("type"), other.get("type")
    if kinds[0] != kinds[1]:
        if set(kinds) == {"integer", "number"}:
            return {**one, "type": "integer"}
        raise Incompatible(path, f"type {kinds[0]} here, {kinds[1]} there")
    for marker in ("x-kubernetes-int-or-string", "x-kubernetes-list-type", "format"):
        if one.get(marker) != other.get(marker) and marker != "format":
            raise Incompatible(path, f"{marker} differs")
    merged: Schema = {key: value for key, value in one.items() if other.get(key) == value}
    if "description" in one:
        merged["description"] = one["description"]
    merged |= _properties(one, other, path)
    if "items" in one or "items" in other:
        merged["items"] = _both(one, other, "items", path)
    if isinstance(one.get("additionalProperties"), dict) or isinstance(other.get("additionalProperties"), dict):
        merged["additionalProperties"] = _both(one, other, "additionalProperties", path)
    if "enum" in one or "enum" in other:
        merged["enum"] = _enum(one.get("enum"), other.get("enum"), path)
    required = sorted(set(one.get("required") or ()) | set(other.get("required") or ()))
    if required:
        lacking = [name for name in required if "properties" in merged and name not in merged["properties"]]
        if lacking:
            raise Incompatible(f"{path}.{lacking[0]}", "required here, unknown there")
        merged["required"] = required
    for key, narrower in (
        ("minimum", max),
        ("minLength", max),
        ("minItems", max),
        ("maximum", min),
        ("maxLength", min),
        ("maxItems", min),
    ):
        values = [schema[key] for schema in (one, other) if key in schema]
        if values:
            merged[key] = narrower(values)
    return merged


def _properties(one: Schema, other: Schema, path: str) -> Schema:
    here, there = one.get("properties"), other.get("properties")
    if here is None and there is None:
        return {}
    open_here, open_there = _open(one), _open(other)
    names: dict[str, Schema] = {}
    for name in sorted({*(here or {}), *(there or {})}):
        below = f"{path}.{name}"
        if name in (here or {}) and name in (there or {}):
            names[name] = common(here[name], there[name], below)  # type: ignore[index]
        elif name in (here or {}) and open_there:
            names[name] = here[name]  # type: ignore[index]
        elif name in (there or {}) and open_here:
            names[name] = there[name]  # type: ignore[index]
    return {"properties": names}


def _open(schema: Schema) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields"))


def _both(one: Schema, other: Schema, key: str, path: str) -> Schema:
    here, there = one.get(key), other.get(key)
    if not isinstance(here, dict) or not isinstance(there, dict):
        raise Incompatible(path, f"{key} on one side only")
    return common(here, there, f"{path}[*]")


def _enum(here: list[Any] | None, there: list[Any] | None, path: str) -> list[Any]:
    if here is None or there is None:
        return list(here or there or ())
    shared = [value for value in here if value in there]
    if not shared:
        raise Incompatible(path, "no value is allowed on both sides")
    return shared
