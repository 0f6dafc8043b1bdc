"""Structured merge: what is said of a kind decides how it is merged, and an object that is as a patch wants it stays.
That objects and words are a kube-apiserver's is shown beside one
(`tests/integration/admission/test_mutations_like_a_cluster.py`)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.merge import MergeError, merged, validate
from proxy.admission.schema import Type, slimmed, type_of_kind

ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "zone": {"type": "string", "default": "here"}, "n": {"type": "integer"}},
}
SCHEMA = {
    "type": "object",
    "description": "gone",
    "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Thing"}],
    "properties": {
        "items": {
            "type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/Item"}], "default": {}},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "zone"],
        },
        "words": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "plain": {"type": "array", "items": {"type": "integer"}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
        "any": {"x-kubernetes-preserve-unknown-fields": True},
        "text": {"type": "string"},
    },
}  # fmt: skip
SCHEMAS = {"Item": ITEM, "Thing": slimmed(SCHEMA)}


def thing() -> Type:
    found = type_of_kind(SCHEMAS, "g", "v1", "Thing")
    assert found is not None
    return found


NAMES = st.sampled_from("abcd")
ITEMS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"zone": st.sampled_from(["here", "x"]), "n": st.integers(0, 3)}),
    unique_by=lambda item: (item["name"], item.get("zone", "here")),
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "items": ITEMS,
        "words": st.lists(NAMES, unique=True),
        "labels": st.dictionaries(NAMES, NAMES),
        "text": NAMES,
    },
)


@given(PATCHES, PATCHES)
def test_what_is_merged_has_all_of_both(live: Any, patch: Any) -> None:
    before = copy.deepcopy((live, patch))
    made = merged(thing(), live, patch)
    assert (live, patch) == before
    made = {} if not isinstance(made, dict) else made
    assert set(made.get("words", ())) == {*live.get("words", ()), *patch.get("words", ())}
    assert made.get("labels", {}) == {**live.get("labels", {}), **patch.get("labels", {})}
    assert made.get("text") == patch.get("text", live.get("text"))

    def by_key(value: Any) -> dict[Any, Any]:
        return {(item["name"], item.get("zone", "here")): item for item in value.get("items", ())}

    old, new, both = by_key(live), by_key(patch), by_key(made)
    assert both == {key: {**old.get(key, {}), **new.get(key, {})} for key in old.keys() | new.keys()}
    wanted = [key for key in new if key in both]
    assert [key for key in both if key in new] == wanted  # in the order of the patch
    assert [key for key in both if key not in new] == [key for key in old if key not in new]
    assert not validate(thing(), made)


@given(PATCHES, PATCHES)
def test_merging_twice_changes_nothing_more(live: Any, patch: Any) -> None:
    once = merged(thing(), live, patch)
    if isinstance(once, dict):
        assert merged(thing(), once, patch) == once


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ({"plain": [1]}, "may not mutate atomic arrays, maps or structs: .plain"),
        ({"whole": {"a": "b"}}, "may not mutate atomic arrays, maps or structs: .whole"),
        ({"any": {"a": [1]}}, "^$"),
        ({"other": 1}, ".other: field not declared in schema"),
        ({"items": [{"name": "a"}, {"name": "a", "zone": "here"}]}, "duplicate entries for key"),
        ({"items": [{"n": 1}]}, "^$"),
        ({"words": ["a", "a"]}, r'duplicate entries for key \[="a"\]'),
        ({"words": [{}]}, "has an element that's a map type"),
        ({"text": 1}, r"\.text: expected string, got &value.valueUnstructured{Value:1}"),
        ({"text": True}, r"\.text: expected string, got &value.valueUnstructured{Value:true}"),
        ({"items": [{"name": "a", "n": "x"}]}, r"expected numeric \(int or float\), got string"),
        ({"labels": [1]}, r"\.labels: expected map, got &{\[1\]}"),
        ({"words": "x"}, r"expected list, got &{x}"),
    ],
)
def test_what_cannot_be_merged_is_said(patch: Any, why: str) -> None:
    if why == "^$":
        merged(thing(), {}, patch)
        return
    with pytest.raises(MergeError, match=why.replace("(int", "(int")):
        merged(thing(), {}, patch)


def test_a_kind_that_no_schema_tells_of() -> None:
    assert type_of_kind(SCHEMAS, "g", "v2", "Thing") is None


def test_types_that_refer_to_themselves() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}, "n": {"type": "integer"}}}
    of = Type({"Node": node, "A": {"$ref": "#/components/schemas/A"}}, node)
    assert merged(of, {"next": {"next": {"n": 1}}}, {"next": {"n": 2}}) == {"next": {"next": {"n": 1}, "n": 2}}
    with pytest.raises(MergeError, match="schema error"):
        merged(Type({"A": {"$ref": "#/components/schemas/A"}}, {"$ref": "#/components/schemas/A"}), {}, {"a": 1})
