"""Tables of admission configurations get the cells that a kube-apiserver prints, wherever their bytes are cut."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from proxy.mapping.columns import Columns
from proxy.mapping.registrations import KINDS, is_registration

SELECTOR = {
    "matchLabels": {"b": "c", "a": "x"},
    "matchExpressions": [
        {"key": "k", "operator": "In", "values": ["v", "w"]}, {"key": "m", "operator": "Exists"},
    ],
}  # fmt: skip


def table(*rows: list[Any], column: str = "Webhooks") -> bytes:
    """As a shard's CRDs give it: cells hold indented JSON."""
    written = [
        [cell if isinstance(cell, str | None) else json.dumps(cell, indent=4) + "\n" for cell in row] for row in rows
    ]
    definitions = [
        {"name": "Name", "type": "string"}, {"name": column, "type": "string"}, {"name": "Age", "type": "date"},
    ]  # fmt: skip
    objects = [{"metadata": {"name": row[0], "annotations": {"n": '{"cells":["x","[]"]'}}} for row in rows]
    return orjson.dumps(
        {
            "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
            "columnDefinitions": definitions,
            "rows": [{"cells": cells, "object": obj} for cells, obj in zip(written, objects, strict=True)],
        }
    )  # fmt: skip


def read(data: bytes, resource: str, size: int) -> bytes:
    columns = Columns(resource)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(map(columns.feed, pieces)) + columns.flush()


def cells(data: bytes) -> list[list[Any]]:
    return [row["cells"] for row in orjson.loads(data)["rows"]]


@pytest.mark.parametrize("size", [1, 2, 7, 40, 100_000])
def test_what_is_in_a_configuration_is_counted(size: int) -> None:
    sent = table(["a", [{"name": 'x"],"object":'}, {"name": "y\\"}], "3s"], ["b", None, "4s"], ["c", [], "5s"]) + b"\n"
    made = read(sent, "validatingwebhookconfigurations", size)
    assert cells(made) == [["a", 2, "3s"], ["b", 0, "4s"], ["c", 0, "5s"]]
    definitions = orjson.loads(made)["columnDefinitions"]
    assert [(each["name"], each["type"]) for each in definitions] == [
        ("Name", "string"), ("Webhooks", "integer"), ("Age", "string"),
    ]  # fmt: skip
    assert [row["object"] for row in orjson.loads(made)["rows"]] == [
        row["object"] for row in orjson.loads(sent)["rows"]
    ]


@pytest.mark.parametrize("size", [1, 3, 50, 100_000])
def test_each_event_of_a_watch_is_a_table(size: int) -> None:
    events = [
        b'{"type":"%b","object":%b}\n' % (kind, table(["a", [{}] * number, "3s"]))
        for number, kind in ((1, b"ADDED"), (3, b"MODIFIED"))
    ]
    bookmark = b'{"type":"BOOKMARK","object":{"kind":"Table","rows":null}}\n'
    made = read(events[0] + bookmark + events[1], "mutatingwebhookconfigurations", size).splitlines()
    assert [cells(orjson.dumps(orjson.loads(made[at])["object"])) for at in (0, 2)] == [
        [["a", 1, "3s"]],
        [["a", 3, "3s"]],
    ]
    assert made[1] + b"\n" == bookmark


def test_an_event_leaves_as_soon_as_it_is_whole() -> None:
    columns = Columns("mutatingwebhookconfigurations")
    event = b'{"type":"ADDED","object":%b}\n' % table(["a", [{}], "3s"])
    assert columns.feed(event[:-1]) != event
    assert columns.feed(b"\n").endswith(b"\n")


@pytest.mark.parametrize(
    ("ref", "printed"),
    [
        (None, "<unset>"),
        ({"name": "x"}, "*/x"),
        ({"name": "x", "namespace": "default"}, "default/x"),
        (
            {"selector": {}},
            "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}",
        ),
        (
            {"selector": SELECTOR},
            "&LabelSelector{MatchLabels:map[string]string{a: x,b: c,},MatchExpressions:[]LabelSelectorRequirement{"
            "LabelSelectorRequirement{Key:k,Operator:In,Values:[v w],},"
            "LabelSelectorRequirement{Key:m,Operator:Exists,Values:[],},},}",
        ),
    ],
)
def test_references(ref: Any, printed: str) -> None:
    made = read(table(["a", "policy", ref, "1s"], column="PolicyName"), "validatingadmissionpolicybindings", 64)
    assert cells(made) == [["a", "policy", printed, "1s"]]


def test_kinds_of_parameters() -> None:
    rows: tuple[list[Any], ...] = (
        ["a", [{"expression": "true"}], {"apiVersion": "v1", "kind": "ConfigMap"}, "1s"],
        ["b", [{}, {}], None, "1s"],
    )
    made = read(table(*rows, column="Validations"), "validatingadmissionpolicies", 64)
    assert cells(made) == [["a", 1, "v1/ConfigMap", "1s"], ["b", 2, "<unset>", "1s"]]


@pytest.mark.parametrize("size", [1, 100_000])
def test_anything_else_is_left_as_it_is(size: int) -> None:
    status = b'{"kind":"Status","apiVersion":"v1","message":"no \\"rows\\":[ here","code":404}\n'
    assert read(status, "validatingwebhookconfigurations", size) == status
    old = table(["a", "one.example.com two.example.com", "3s"])
    assert cells(read(old, "validatingwebhookconfigurations", size)) == [["a", "one.example.com two.example.com", "3s"]]


def test_a_large_cell_is_not_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = Columns("validatingwebhookconfigurations")
    looked = 0
    out = Columns._out

    def counted(self: Columns, held: bytes, *, ended: bool) -> bytes:
        nonlocal looked
        looked += len(held)
        return out(self, held, ended=ended)

    monkeypatch.setattr(Columns, "_out", counted)
    data = table(["a", [{"name": "x" * 2_000_000}], "3s"])
    made = b"".join(columns.feed(data[at : at + 16_384]) for at in range(0, len(data), 16_384)) + columns.flush()
    assert cells(made) == [["a", 1, "3s"]]
    assert looked < 4 * len(data)


@pytest.mark.parametrize("resource", KINDS)
def test_every_kind_that_is_stored_elsewhere(resource: str) -> None:
    assert read(table(["a", "b", None, "1s"]), resource, 64)


def test_only_kinds_that_are_stored_elsewhere() -> None:
    assert is_registration("admissionregistration.k8s.io", "validatingadmissionpolicies")
    assert not is_registration("", "configmaps")
