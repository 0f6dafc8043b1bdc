"""How values of a kind are merged, read from OpenAPI schemas: which lists are maps or sets, and what is atomic.

Follows k8s.io/kube-openapi/pkg/schemaconv (``openapi.go``, ``smd.go``) and
sigs.k8s.io/structured-merge-diff/v6/schema. Nothing of a schema is looked at before a value needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Schemas = Mapping[str, Mapping[str, Any]]
"""``components.schemas`` of an OpenAPI document, version 3."""

NUMERIC, STRING, BOOLEAN, UNTYPED = "numeric", "string", "boolean", "untyped"
_SCALARS = {"integer": NUMERIC, "number": NUMERIC, "boolean": BOOLEAN}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_RAW = "io.k8s.apimachinery.pkg.runtime.RawExtension"
_KIND = "x-kubernetes-group-version-kind"
_REFERENCE = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class ListOf:
    items: Type
    associative: bool
    """Items are found by their keys, or are themselves keys."""
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MapOf:
    fields: Mapping[str, Type]
    others: Type | None
    """Of what is not among the fields; None: there is nothing else."""
    atomic: bool

    def of(self, key: str) -> Type | None:
        return self.fields.get(key, self.others)


@dataclass(frozen=True, slots=True)
class Atom:
    """What a value may be."""

    scalar: str | None = None
    list: ListOf | None = None
    map: MapOf | None = None

    def deduced(self, value: Any) -> Atom:
        """What it is, of a value of one of the possible types."""
        if isinstance(value, dict):
            return Atom(map=self.map) if self.map is not None else self
        if isinstance(value, list):
            return Atom(list=self.list) if self.list is not None else self
        return Atom(self.scalar) if value is not None and self.scalar is not None else self


class Type:
    """Of a value: made an `Atom` at first need."""

    __slots__ = ("_atom", "_keeps_unknown", "_schema", "_schemas", "default")

    def __init__(self, schemas: Schemas, schema: Mapping[str, Any], keeps_unknown: bool = False) -> None:
        self._schemas = schemas
        self._schema = schema
        self._keeps_unknown = keeps_unknown
        self._atom: Atom | None = None
        self.default: Any = schema.get("default")

    @property
    def atom(self) -> Atom:
        if self._atom is None:
            self._atom = self._made()
        return self._atom

    def _made(self) -> Atom:
        schema, keeps = self._schema, self._keeps_unknown
        name = _referred(schema)
        relation = schema.get("x-kubernetes-map-type")
        seen: set[str] = set()
        while name is not None:
            if name == _QUANTITY:
                return Atom(UNTYPED)
            if name == _RAW:
                return UNTYPED_ATOMIC.atom
            if name in seen or name not in self._schemas:
                return Atom()
            seen.add(name)
            schema, keeps = self._schemas[name], False
            name = _referred(schema) if "$ref" in schema else None
        keeps = keeps or schema.get("x-kubernetes-preserve-unknown-fields") is True
        made = self._parsed(schema, keeps)
        if relation is not None and made.map is not None and schema is not self._schema:
            made = replace(made, map=replace(made.map, atomic=relation == "atomic"))
        return made

    def _parsed(self, schema: Mapping[str, Any], keeps: bool) -> Atom:
        kind = schema.get("type")
        if kind == "object":
            return Atom(map=self._map(schema, keeps))
        if kind == "array":
            return Atom(list=self._list(schema, keeps))
        if kind == "string":
            return Atom(STRING if schema.get("format", "") in ("", "byte") else UNTYPED)
        if kind in _SCALARS:
            return Atom(_SCALARS[kind])
        return Atom(UNTYPED, self._list(schema, keeps), self._map(schema, keeps))

    def _map(self, schema: Mapping[str, Any], keeps: bool) -> MapOf:
        properties = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        others: Type | None = None
        if isinstance(more, dict):
            others = Type(self._schemas, more, keeps)
        elif more is True or (more is None and (keeps or not properties)):
            others = DEDUCED
        fields = {name: Type(self._schemas, member, keeps) for name, member in properties.items()}
        return MapOf(fields, others, schema.get("x-kubernetes-map-type") == "atomic")

    def _list(self, schema: Mapping[str, Any], keeps: bool) -> ListOf:
        items = schema.get("items")
        of = Type(self._schemas, items, keeps) if isinstance(items, dict) else UNTYPED_ATOMIC
        kind = schema.get("x-kubernetes-list-type")
        if kind is None and schema.get("x-kubernetes-patch-strategy") in ("merge", "merge,retainKeys"):
            key = schema.get("x-kubernetes-patch-merge-key")
            return ListOf(of, True, (key,) if key else ())
        if kind == "map":
            return ListOf(of, True, tuple(schema.get("x-kubernetes-list-map-keys") or ()))
        return ListOf(of, kind == "set")


class _Any(Type):
    """Of what no schema tells of: maps are merged if ``deduced``, lists never are."""

    __slots__ = ("_deduced",)

    def __init__(self, deduced: bool) -> None:
        super().__init__({}, {})
        self._deduced = deduced

    def _made(self) -> Atom:
        return Atom(UNTYPED, ListOf(UNTYPED_ATOMIC, False), MapOf({}, self, not self._deduced))


UNTYPED_ATOMIC, DEDUCED = _Any(False), _Any(True)


def type_of_kind(schemas: Schemas, group: str, version: str, kind: str) -> Type | None:
    """None if the schemas do not tell of it."""
    wanted = {"group": group, "version": version, "kind": kind}
    for schema in schemas.values():
        if any(known == wanted for known in schema.get(_KIND) or ()):
            return Type(schemas, schema)
    return None


_KEPT = frozenset({"$ref", "default", "format", "type"})
_NESTED = frozenset({"additionalProperties", "items"})


def slimmed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed of a schema, without its descriptions and rules."""
    made = {key: value for key, value in schema.items() if key in _KEPT or key.startswith("x-kubernetes-")}
    for key in _NESTED & schema.keys():
        made[key] = slimmed(schema[key]) if isinstance(schema[key], dict) else schema[key]
    if "properties" in schema:
        made["properties"] = {name: slimmed(member) for name, member in schema["properties"].items()}
    if "allOf" in schema:
        made["allOf"] = [slimmed(one) for one in schema["allOf"]]
    return made


def _referred(schema: Mapping[str, Any]) -> str | None:
    """The name of another schema; it may stand in an ``allOf`` of one."""
    found = schema.get("$ref")
    every: list[Mapping[str, Any]] = schema.get("allOf") or []
    if found is None and len(every) == 1:
        found = every[0].get("$ref")
    if not isinstance(found, str) or not found.startswith(_REFERENCE):
        return None
    return found.removeprefix(_REFERENCE).replace("~1", "/").replace("~0", "~")
