"""The lowest common denominator of schemas: never looser than either side."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.workload.schema import Incompatible, Schema, common, first_difference


def obj(required: list[str] | None = None, **properties: Schema) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}


def test_identical() -> None:
    schema = obj(a=TEXT)
    assert common(schema, obj(a=TEXT)) is schema


def test_what_only_one_side_knows_is_left_out() -> None:
    assert common(obj(a=TEXT, b=NUMBER), obj(b=NUMBER, c=TEXT)) == obj(b=NUMBER)


def test_an_open_object_takes_what_the_other_side_knows() -> None:
    open_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert common(open_object, obj(a=TEXT)) == obj(a=TEXT)
    assert common(obj(a=TEXT), open_object) == obj(a=TEXT)


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        (obj(spec=obj(size=NUMBER)), obj(spec=obj(size=TEXT)), ".spec.size"),
        (obj(a={"type": "array", "items": TEXT}), obj(a={"type": "array", "items": NUMBER}), ".a[*]"),
        (obj(a={"type": "object", "additionalProperties": TEXT}), obj(a={"type": "object"}), ".a"),
        (obj(["a"], a=TEXT, b=TEXT), obj(b=TEXT), ".a"),
        (obj(a={"type": "string", "enum": ["x"]}), obj(a={"type": "string", "enum": ["y"]}), ".a"),
        (obj(a={"type": "string", "pattern": "^x"}), obj(a={"type": "string", "pattern": "^y"}), ".a"),
        (obj(a={"type": "string", "format": "date"}), obj(a={"type": "string", "format": "uuid"}), ".a"),
        (
            obj(a={"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"}),
            obj(a={"type": "array", "items": TEXT}),
            ".a",
        ),
        (obj(a={"x-kubernetes-int-or-string": True}), obj(a=NUMBER), ".a"),
    ],
)
def test_incompatible_names_the_path(one: Schema, other: Schema, path: str) -> None:
    for here, there in ((one, other), (other, one)):
        with pytest.raises(Incompatible) as error:
            common(here, there)
        assert error.value.path == path
        assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ({"type": "integer", "minimum": 1}, {"type": "integer"}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 3}, {"type": "integer", "minimum": 3}),
        ({"type": "string", "maxLength": 9}, {"type": "string", "maxLength": 5}, {"type": "string", "maxLength": 5}),
        ({"type": "string", "pattern": "^x"}, TEXT, {"type": "string", "pattern": "^x"}),
        ({"type": "string", "enum": ["x", "y"]}, TEXT, {"type": "string", "enum": ["x", "y"]}),
        (
            {"type": "string", "enum": ["x", "y"]},
            {"type": "string", "enum": ["y", "z"]},
            {"type": "string", "enum": ["y"]},
        ),
        ({"type": "number", "maximum": 4}, {"type": "integer"}, {"type": "integer", "maximum": 4}),
        (
            {"type": "integer", "format": "int64"},
            {"type": "integer", "format": "int32"},
            {"type": "integer", "format": "int32"},
        ),
        ({"type": "string", "nullable": True}, TEXT, TEXT),
        ({"type": "string", "default": "a"}, {"type": "string", "default": "b"}, TEXT),
    ],
)
def test_limits_of_either_side_hold(one: Schema, other: Schema, both: Schema) -> None:
    assert common(one, other) == both
    assert common(other, one) == both


def test_validation_rules_add_up() -> None:
    first, second = {"rule": "self.a > 1"}, {"rule": "self.b > 1"}
    one = {**obj(a=NUMBER), "x-kubernetes-validations": [first]}
    other = {**obj(a=NUMBER), "x-kubernetes-validations": [first, second]}
    assert common(one, other)["x-kubernetes-validations"] == [first, second]


def test_required_on_either_side() -> None:
    assert common(obj(["b", "a"], a=TEXT, b=TEXT), obj(["a"], a=TEXT, b=TEXT)) == obj(["b", "a"], a=TEXT, b=TEXT)


def test_descriptions_do_not_matter() -> None:
    one = {"type": "string", "description": "as the first has it"}
    assert common(one, {"type": "string", "description": "another"}) == one


schemas: st.SearchStrategy[Schema] = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": st.integers(0, 3)}),
        st.fixed_dictionaries({"type": st.just("string")}, optional={"enum": st.just(["a", "b"])}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.just("array"), "items": inner}),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).flatmap(
            lambda properties: st.fixed_dictionaries(
                {"type": st.just("object"), "properties": st.just(properties)},
                optional={"required": st.lists(st.sampled_from(sorted(properties) or ["a"]), unique=True)},
            ).filter(lambda schema: set(schema.get("required", ())) <= set(properties))
        ),
    ),
    max_leaves=8,
)


def accepts(schema: Schema, value: Any) -> bool:
    """A validator of the little that the generated schemas say; unknown properties are refused."""
    if schema["type"] == "integer":
        return isinstance(value, int) and value >= schema.get("minimum", value)
    if schema["type"] == "string":
        return isinstance(value, str) and value in schema.get("enum", [value])
    if schema["type"] == "array":
        return isinstance(value, list) and all(accepts(schema["items"], item) for item in value)
    known = schema["properties"]
    return (
        isinstance(value, dict)
        and set(schema.get("required", ())) <= set(value)
        and all(name in known and accepts(known[name], item) for name, item in value.items())
    )


def values(schema: Schema) -> st.SearchStrategy[Any]:
    if schema["type"] == "integer":
        return st.integers(schema.get("minimum", -3), 9)
    if schema["type"] == "string":
        return st.sampled_from(schema.get("enum", ["a", "z"]))
    if schema["type"] == "array":
        return st.lists(values(schema["items"]), max_size=2)
    required = set(schema.get("required", ()))
    fields = {name: values(inner) for name, inner in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


@given(schemas, schemas, st.data())
def test_what_both_share_is_accepted_by_both(one: Schema, other: Schema, data: st.DataObject) -> None:
    try:
        both = common(one, other)
    except Incompatible:
        return
    value = data.draw(values(both))
    assert accepts(one, value)
    assert accepts(other, value)


@given(schemas, schemas)
def test_the_common_schema_adds_no_limit_to_itself(one: Schema, other: Schema) -> None:
    try:
        both = common(one, other)
    except Incompatible:
        return
    assert common(both, one) == both
    assert common(both, other) == both


@pytest.mark.parametrize(
    ("one", "other", "path"),
    [
        ({"type": "object"}, {"type": "object"}, ""),
        ({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, {"properties": {"a": {}}}, ".a.b"),
        ({"properties": {"a": {"items": {"maximum": 1}}}}, {"properties": {"a": {"items": {}}}}, ".a[*]"),
        ({"additionalProperties": {"x": 1}}, {"additionalProperties": True}, "[*]"),
        ({"required": ["a"]}, {}, ""),
        ({"properties": {"a": {"enum": [1]}}}, {"properties": {"a": {"enum": [2]}}}, ".a"),
    ],
)
def test_first_difference(one: Schema, other: Schema, path: str) -> None:
    assert first_difference(one, other) == path
