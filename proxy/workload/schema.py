"""The lowest common denominator of two structural schemas: what objects may hold that go to both clusters.

Every limit of either side holds for both, since an object that one cluster refuses cannot be synced there. What limits
in a way that cannot be put together (two patterns, say) makes the schemas incompatible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

_NUMBERS = {"integer", "number"}
_NARROWER: dict[str, Callable[..., Any]] = {
    "minimum": max, "minLength": max, "minItems": max, "minProperties": max,
    "maximum": min, "maxLength": min, "maxItems": min, "maxProperties": min,
    "exclusiveMinimum": max, "exclusiveMaximum": max, "uniqueItems": max,
}  # fmt: skip
"""How two values of a limit become one."""
_NARROWER_FORMATS = {frozenset({"int32", "int64"}): "int32", frozenset({"float", "double"}): "float"}
_SAME_OR_ABSENT = ("pattern", "multipleOf", "allOf", "anyOf", "oneOf", "not")
"""Limits that hold for both where one side has them, and cannot be joined where they differ."""
_SAME = (
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
    "x-kubernetes-embedded-resource",
)  # fmt: skip
"""What an object means depends on these."""
_VALIDATIONS = "x-kubernetes-validations"


class Incompatible(Exception):
    """Two schemas that no object can satisfy in a useful way; ``path`` says where."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or 'schema'}: {why}")
        self.path = path


def common(one: Schema, other: Schema, path: str = "") -> Schema:
    """The schema of what both accept; ``one`` itself where the other adds no limit. Raises Incompatible with the path
    of the first conflict."""
    if one == other:
        return one
    kinds = one.get("type"), other.get("type")
    if kinds[0] != kinds[1] and set(kinds) != _NUMBERS:
        raise Incompatible(path, f"type {kinds[0]} here, {kinds[1]} there")
    for marker in _SAME:
        if one.get(marker) != other.get(marker):
            raise Incompatible(path, f"{marker} differs")
    merged: Schema = {key: value for key, value in one.items() if other.get(key) == value}
    if "description" in one:
        merged["description"] = one["description"]
    if kinds[0] != kinds[1]:
        merged["type"] = "integer"
    merged |= _properties(one, other, path)
    for key in ("items", "additionalProperties"):
        if isinstance(one.get(key), dict) or isinstance(other.get(key), dict):
            merged[key] = _both(one, other, key, path)
    if "enum" in one or "enum" in other:
        merged["enum"] = _enum(one.get("enum"), other.get("enum"), path)
    merged |= _required(one, other, merged, path)
    merged |= _limits(one, other, path)
    return merged


def first_difference(one: Any, other: Any, path: str = "") -> str:
    """Path of the first place where two schemas are not the same, as `Incompatible` names places; empty for none."""
    if one == other:
        return ""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return path
    for name in {**(one.get("properties") or {}), **(other.get("properties") or {})}:
        pair = [(schema.get("properties") or {}).get(name) for schema in (one, other)]
        if pair[0] != pair[1]:
            return first_difference(pair[0], pair[1], f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if one.get(key) != other.get(key):
            return first_difference(one.get(key), other.get(key), f"{path}[*]")
    return path


def _properties(one: Schema, other: Schema, path: str) -> Schema:
    here: Schema | None = one.get("properties")
    there: Schema | None = other.get("properties")
    if here is None and there is None:
        return {}
    here, there = here or {}, there or {}
    names: dict[str, Schema] = {}
    for name in [*here, *(name for name in there if name not in here)]:
        if name in here and name in there:
            names[name] = common(here[name], there[name], f"{path}.{name}")
        elif name in here and _open(other):
            names[name] = here[name]
        elif name in there and _open(one):
            names[name] = there[name]
    return {"properties": names}


def _required(one: Schema, other: Schema, merged: Schema, path: str) -> Schema:
    here, there = one.get("required") or [], other.get("required") or []
    required = [*here, *(name for name in there if name not in here)]
    lacking = [name for name in required if name not in merged.get("properties", required)]
    if lacking:
        raise Incompatible(f"{path}.{lacking[0]}", "required on one side, unknown on the other")
    return {"required": required} if required else {}


def _limits(one: Schema, other: Schema, path: str) -> Schema:
    limits: Schema = {}
    for key, narrower in _NARROWER.items():
        values = [schema[key] for schema in (one, other) if key in schema]
        if values:
            limits[key] = narrower(values)
    for key in _SAME_OR_ABSENT:
        limits |= _same_or_absent(one, other, key, path)
    pair = frozenset({one.get("format"), other.get("format")})
    if pair in _NARROWER_FORMATS:
        limits["format"] = _NARROWER_FORMATS[pair]
    else:
        limits |= _same_or_absent(one, other, "format", path)
    rules = one.get(_VALIDATIONS) or []
    rules = [*rules, *(rule for rule in other.get(_VALIDATIONS) or () if rule not in rules)]
    return limits | ({_VALIDATIONS: rules} if rules else {})


def _same_or_absent(one: Schema, other: Schema, key: str, path: str) -> Schema:
    if key in one and key in other and one[key] != other[key]:
        raise Incompatible(path, f"{key} differs")
    return {key: (one if key in one else other)[key]} if key in one or key in other else {}


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
