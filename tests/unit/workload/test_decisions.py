"""What the controllers decide, without a server."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.times import parse_time
from proxy.workload.agreement import agree, subresources
from proxy.workload.api import with_condition
from proxy.workload.clusters import age, health
from proxy.workload.definition import crd_of
from proxy.workload.typekey import TypeKey, key_of

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


# heartbeats


def test_never_a_heartbeat() -> None:
    assert health(None, 0.0) == (False, "No heartbeat yet seen", None)


def test_healthy_until_the_limit() -> None:
    seen = ("2026-01-01T12:00:00Z", 1000.0)
    assert health(seen, 1020.0) == (True, "", 40.5)
    assert health(seen, 1060.0)[0]
    assert health(seen, 1061.0) == (False, "No heartbeat since 2026-01-01T12:00:00Z", 60.0)


@pytest.mark.parametrize(
    ("heartbeat", "followed", "seconds"),
    [
        ("2026-01-01T11:59:00Z", False, 60.0),
        ("2026-01-01T13:00:00Z", False, 0.0),  # a clock that is ahead
        ("2026-01-01T11:00:00Z", True, 0.0),  # one that is behind
        ("not a time", False, 0.0),
    ],
)
def test_age_of_a_heartbeat(heartbeat: str, followed: bool, seconds: float) -> None:
    assert age(heartbeat, NOON, followed=followed) == seconds


def test_times() -> None:
    assert parse_time("2026-01-01T12:00:00Z") == NOON
    assert parse_time("2026-01-01T13:00:00+01:00") == NOON
    assert parse_time("2026-01-01T12:00:00.5Z") == after(0.5)
    assert parse_time("2026-01-01T12:00:00") is None
    assert parse_time(None) is None


# conditions


def test_a_condition_keeps_its_time_with_its_status() -> None:
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    assert with_condition([old], "Ready", True) == [old]
    changed = with_condition([old], "Ready", False, "Why", "because", severity="Error")
    assert changed[0]["lastTransitionTime"] != old["lastTransitionTime"]
    assert changed[0] | {"lastTransitionTime": ""} == {
        "type": "Ready", "status": "False", "lastTransitionTime": "", "severity": "Error", "reason": "Why",
        "message": "because",
    }  # fmt: skip


def test_a_condition_that_a_wrong_clock_has_dated_is_dated_anew() -> None:
    old = {"type": "Ready", "status": "True", "lastTransitionTime": "2999-01-01T00:00:00Z"}
    assert with_condition([old], "Ready", True)[0]["lastTransitionTime"] < "2999"


def test_other_conditions_stay() -> None:
    other = {"type": "Zeal", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    assert [item["type"] for item in with_condition([other], "Ready", True)] == ["Ready", "Zeal"]


# imports

SMALL = {"type": "object", "properties": {"a": {"type": "string"}}}
LARGE = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}


def imported(name: str, schema: Object, **spec: Any) -> Object:
    return {
        "metadata": {"name": name},
        "spec": {"scope": "Namespaced", "kind": "Widget", "openAPIV3Schema": schema, **spec},
    }


def negotiated(schema: Object, *, published: bool) -> Object:
    status = {"conditions": [{"type": "Published", "status": str(published)}]}
    return {**imported("negotiated", schema), "status": status}


def test_the_common_part_while_nothing_is_published() -> None:
    both = [imported("one", LARGE), imported("two", SMALL)]
    assert agree(both, None) == (SMALL, {})
    assert agree(both, negotiated(LARGE, published=False)) == (SMALL, {})


def test_what_is_published_is_not_narrowed() -> None:
    schema, refused = agree([imported("one", LARGE), imported("two", SMALL)], negotiated(LARGE, published=True))
    assert schema == LARGE
    assert refused == {"two": ".b: it would narrow the schema in use, which UpdateUnpublished forbids"}


def test_what_is_published_does_not_grow() -> None:
    assert agree([imported("one", LARGE)], negotiated(SMALL, published=True)) == (SMALL, {})


def test_unless_the_import_says_so() -> None:
    willing = imported("one", LARGE, schemaUpdateStrategy="UpdatePublished")
    assert agree([willing], negotiated(SMALL, published=True)) == (LARGE, {})


def test_never_means_never() -> None:
    stubborn = imported("one", SMALL, schemaUpdateStrategy="UpdateNever")
    schema, refused = agree([stubborn], negotiated(LARGE, published=False))
    assert schema == LARGE
    assert "UpdateNever" in refused["one"]


@pytest.mark.parametrize(("field", "value"), [("scope", "Cluster"), ("kind", "Gadget")])
def test_another_thing_of_the_same_name(field: str, value: str) -> None:
    schema, refused = agree([imported("one", SMALL), imported("two", SMALL, **{field: value})], None)
    assert schema == SMALL
    assert refused == {"two": f"{field}: {value} here, {imported('', {})['spec'][field]} there"}


def test_who_was_there_first() -> None:
    late = imported("a", {"type": "object", "properties": {"a": {"type": "integer"}}})
    late["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    early = imported("z", SMALL)
    early["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert agree([late, early], None) == (SMALL, {"a": ".a: type string here, integer there"})


def test_a_crd_made_by_hand_is_the_measure() -> None:
    willing = imported("one", SMALL, schemaUpdateStrategy="UpdatePublished")
    schema, refused = agree([willing, imported("two", LARGE)], negotiated(SMALL, published=False), LARGE)
    assert schema == LARGE
    assert refused == {
        "one": ".b: it would narrow the schema in use, which the CustomResourceDefinition made by hand forbids"
    }


def test_subresources_that_all_have() -> None:
    both, one = ([{"name": name} for name in names] for names in (("status", "scale"), ("status",)))
    assert subresources([imported("a", SMALL, subResources=both), imported("b", SMALL, subResources=one)]) == one
    assert subresources([imported("a", SMALL, subResources=both), imported("b", SMALL)]) == []
    assert subresources([]) == []


def about(name: str = "kabcdefgh-x", **spec: Any) -> Object:
    defaults = {"plural": "widgets", "groupVersion": {"group": "example.com", "version": "v1"}, "scope": "Namespaced"}
    return {"metadata": {"name": name}, "spec": {**defaults, **spec}}


def test_key() -> None:
    key = key_of(about())
    assert key == TypeKey("kabcdefgh", "widgets", "v1", "example.com")
    assert key.name == "kabcdefgh-widgets.v1.example.com"
    assert key.resource == Resource("kabcdefgh-example.com", "v1", "widgets")


def test_key_of_a_native_type() -> None:
    key = key_of(about(groupVersion={"version": "v1"}, plural="services"))
    assert key is not None
    assert key.name == "kabcdefgh-services.v1.core"
    assert key.resource == Resource("", "v1", "services")


@pytest.mark.parametrize(
    "obj",
    [
        about("nobody-x"),
        about(plural="../secrets"),
        about(plural="w" * 64),
        about(groupVersion={"group": "", "version": "v1/secrets"}),
        about(groupVersion={"group": "apps/v1", "version": "v1"}),
        about(groupVersion={"group": "example.com\n", "version": "v1"}),
        about(groupVersion={"group": "example.com"}),
        {"metadata": {"name": "kabcdefgh-x"}},
    ],
)
def test_no_key(obj: Object) -> None:
    assert key_of(obj) is None


def test_crd() -> None:
    spec = {
        "plural": "widgets", "kind": "Widget", "scope": "Namespaced", "openAPIV3Schema": SMALL, "shortNames": ["w"],
        "subResources": [{"name": "status"}],
    }  # fmt: skip
    crd = crd_of(TypeKey("kabcdefgh", "widgets", "v1", "example.com"), spec)
    assert crd["metadata"]["name"] == "widgets.example.com"
    assert crd["spec"]["group"] == "example.com"
    assert crd["spec"]["names"] == {
        "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList", "shortNames": ["w"],
    }  # fmt: skip
    assert crd["spec"]["versions"] == [
        {
            "name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SMALL},
            "subresources": {"status": {}},
        }
    ]  # fmt: skip
