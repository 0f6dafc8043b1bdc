"""Structural schemas from a server's published ones; what the workspace is told of a resource."""

from __future__ import annotations

import datetime

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from syncer.apis import HASH, Api, import_of
from syncer.definitions import MOST, Budget, Definition, schema_of, structural
from syncer.report import ABOVE, BELOW, LATER, SOON, Trouble, explain, troubles
from syncer.tokens import LIFETIME, RENEW_AT, seconds_left

GVK = {"group": "apps", "version": "v1", "kind": "Thing"}


def test_references_are_resolved() -> None:
    schemas: dict[str, Object] = {
        "thing": {
            "type": "object",
            "description": "Left out: words are many.",
            "properties": {
                "metadata": {"allOf": [{"$ref": "#/components/schemas/meta"}], "default": {}},
                "spec": {"allOf": [{"$ref": "#/components/schemas/spec"}], "default": {}, "description": "x"},
            },
            "x-kubernetes-group-version-kind": [GVK],
        },
        "meta": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "format": "int32"},
                "port": {"$ref": "#/components/schemas/intorstring"},
                "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}},
                "items": {"type": "array", "items": {"$ref": "#/components/schemas/meta"}},
            },
        },
        "intorstring": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    }
    assert schema_of(schemas, GVK) == {
        "type": "object",
        "properties": {
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "default": {},
                "required": ["size"],
                "properties": {
                    "items": {
                        "type": "array",
                        "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                    },
                    "labels": {"type": "object", "additionalProperties": {"type": "string", "default": ""}},
                    "port": {"x-kubernetes-int-or-string": True},
                    "size": {"type": "integer", "format": "int32"},
                },
            },
        },
    }


def test_a_kind_that_is_not_published_may_be_anything() -> None:
    assert schema_of({}, GVK) == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_a_type_that_holds_itself_ends_somewhere() -> None:
    reference = {"$ref": "#/components/schemas/tree"}
    names = [f"child{number}" for number in range(20)]
    schemas: dict[str, Object] = {"tree": {"type": "object", "properties": dict.fromkeys(names, reference)}}
    whole = structural(reference, schemas, Budget())
    assert whole["properties"]["child0"] == {"x-kubernetes-preserve-unknown-fields": True}


def test_types_that_double_at_each_step_end_somewhere() -> None:
    schemas: dict[str, Object] = {
        f"t{step}": {"properties": {key: {"$ref": f"#/components/schemas/t{step + 1}"} for key in "ab"}}
        for step in range(60)
    }
    budget = Budget(1000)
    assert structural({"$ref": "#/components/schemas/t0"}, schemas, budget)["type"] == "object"
    assert -budget.left < MOST


def test_any_value() -> None:
    assert structural({"description": "Any JSON."}, {}, Budget()) == {"x-kubernetes-preserve-unknown-fields": True}


def api(**changes: object) -> Api:
    fields = {
        "resource": Resource("apps", "v1", "things"), "kind": "Thing", "singular": "thing", "short_names": ("th",),
        "categories": ("all",), "subresources": ("status", "scale", "eviction"),
    }  # fmt: skip
    return Api(**{**fields, **changes})  # type: ignore[arg-type]


def test_import() -> None:
    made = import_of(api(), Definition({"type": "object"}), "east")
    assert made["metadata"]["name"] == "things.east.v1.apps"
    assert made["spec"] == {
        "location": "east",
        "schemaUpdateStrategy": "UpdateUnpublished",
        "groupVersion": {"group": "apps", "version": "v1"},
        "scope": "Namespaced",
        "plural": "things",
        "singular": "thing",
        "kind": "Thing",
        "listKind": "ThingList",
        "shortNames": ["th"],
        "categories": ["all"],
        "subResources": [{"name": "status"}, {"name": "scale"}],
        "openAPIV3Schema": {"type": "object"},
    }


def test_import_of_the_core_group() -> None:
    made = import_of(api(resource=Resource("", "v1", "things")), Definition({"type": "object"}), "east")
    assert made["metadata"]["name"] == "things.east.v1.core"
    assert api(resource=Resource("", "v1", "things")).name == "things"
    assert api().name == "things.apps"


def test_the_hash_tells_whether_anything_has_changed() -> None:
    def digest(definition: Definition, **changes: object) -> str:
        return str(import_of(api(**changes), definition, "east")["metadata"]["annotations"][HASH])

    first = digest(Definition({"type": "object"}))
    assert digest(Definition({"type": "object"})) == first
    assert digest(Definition({"type": "object", "nullable": True})) != first
    assert digest(Definition({"type": "object"}, ({"name": "A"},))) != first
    assert digest(Definition({"type": "object"}), short_names=()) != first


# one line for each trouble


@pytest.mark.parametrize(
    ("code", "side", "says", "wait"),
    [
        (401, ABOVE, "does not accept the token", LATER),
        (403, ABOVE, "may not be entered any more", LATER),
        (404, ABOVE, "WorkloadCluster east does not exist", LATER),
        (503, ABOVE, "the server's words", SOON),
        (401, BELOW, "the cluster that this syncer works for: the server's words", LATER),
        (503, BELOW, "the cluster that this syncer works for", SOON),
    ],
)
def test_trouble(code: int, side: str, says: str, wait: float) -> None:
    with pytest.raises(Trouble) as trouble, troubles(side, "east"):
        raise StatusError(code, "the server's words")
    assert says in str(trouble.value)
    assert "\n" not in str(trouble.value)
    assert trouble.value.wait == wait


def test_an_answer_that_makes_no_sense_is_a_trouble() -> None:
    answer: Object = {}
    with pytest.raises(Trouble, match="an answer of the cluster is not understood: KeyError"), troubles(BELOW):
        answer["groups"]


def test_explanations_name_the_side() -> None:
    error = StatusError(403, "no")
    assert explain(error, ABOVE, "east") != explain(error, BELOW)


# pods' tokens

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("annotation", "left"),
    [
        ("2026-01-01T13:00:00Z", 3600.0),
        ("2026-01-01T11:00:00Z", 0.0),
        ("2026-01-02T00:00:00Z", 12 * 3600.0),
        ("2026-01-02T00:01:00Z", 0.0),  # nobody writes that but who has a wrong clock
        ("soon", 0.0),
        ("2026-01-01T13:00:00", 0.0),
        (None, 0.0),
    ],
)
def test_seconds_left(annotation: str | None, left: float) -> None:
    secret = {"metadata": {"annotations": {RENEW_AT: annotation} if annotation else None}}
    assert seconds_left(secret, NOON) == left
    assert seconds_left(None, NOON) == 0.0
    assert left <= LIFETIME
