"""Mutations of tenants: what they may cost. What they make is a kube-apiserver's, as is shown beside one
(`tests/integration/admission/test_mutations_like_a_cluster.py`)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from proxy.admission.cel.admission import Inputs, Verdict
from proxy.admission.expressions import NotCompiled
from proxy.admission.mutations import CompiledMutations, MutationError
from proxy.admission.schema import DEDUCED

BIG = {"data": {f"key-{number}": "x" * 20 for number in range(40_000)}}
"""A MiB or so."""


def made(text: str, obj: Any, kind: str = "JSONPatch") -> Any:
    field = {"JSONPatch": "jsonPatch", "ApplyConfiguration": "applyConfiguration"}[kind]
    compiled = CompiledMutations({"mutations": [{"patchType": kind, field: {"expression": text}}]})
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    inputs = Inputs(obj, None, {"resource": resource}, None, None, lambda _: Verdict(False))
    return compiled.mutate(0, inputs, DEDUCED, strict=False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("JSONPatch", "lists.range(5000).map(i, JSONPatch{op: 'add', path: '/' + string(i), value: object.data})"),
        ("JSONPatch", "lists.range(5000).map(i, JSONPatch{op: 'test', path: '/a', value: Object.a{b: object.data}})"),
        ("JSONPatch", "lists.range(60).map(i, JSONPatch{op: 'copy', from: '/data', path: '/data/' + string(i)})"),
        ("ApplyConfiguration", "Object{all: lists.range(9000).map(i, object.data)}"),
        ("ApplyConfiguration", "lists.range(90000).all(i, Object{a: object}.a == object) ? Object{} : Object{}"),
        (
            "ApplyConfiguration",
            "lists.range(90000).all(i, Object{a: object} == Object{a: object}) ? Object{} : Object{}",
        ),
        ("ApplyConfiguration", "lists.range(90000).all(i, has(Object{a: object}.a)) ? Object{} : Object{}"),
        ("ApplyConfiguration", "lists.range(300000).all(i, Object{a: object}.a.data != null) ? Object{} : Object{}"),
    ],
)
def test_nothing_runs_for_long_or_takes_all_memory(kind: str, text: str) -> None:
    began = time.thread_time()
    with pytest.raises(MutationError, match=r"more than|exceed|budget"):
        made(text, BIG, kind)
    assert time.thread_time() - began < 8


def test_messages_are_made_where_they_change_something() -> None:
    spec = {"variables": [{"name": "v", "expression": "Object{}"}], "mutations": []}
    with pytest.raises(NotCompiled, match="undeclared reference to 'Object'"):
        CompiledMutations(spec)
    spec = {"matchConditions": [{"name": "v", "expression": "jsonpatch.escapeKey('a') == 'a'"}], "mutations": []}
    with pytest.raises(NotCompiled, match="undeclared reference"):
        CompiledMutations(spec)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9007199254740993", "9007199254740993"),
        ("-9007199254740991", -9007199254740991),
        ("3.0", 3),
        ("1.5", 1.5),
        ("5u", 5),
        ("b'hello'", "aGVsbG8="),
        ("duration('90s')", "90s"),
        ("timestamp('2024-01-01T00:00:00Z')", "2024-01-01T00:00:00Z"),
        ("null", None),
        ("Object.x{a: [Object.x.a{b: 1}], c: {'d': true}}", {"a": [{"b": 1}], "c": {"d": True}}),
    ],
)
def test_values_of_patches(text: str, value: Any) -> None:
    got = made(f"[JSONPatch{{op: 'add', path: '/x', value: {text}}}]", {})["x"]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1.0 / 0.0", "could not marshal to JSON"),
        ("type(1)", "could not marshal to JSON"),
        ("{1: 2}", "map key"),
        ("Object.x{a: Object.y{}}", 'unexpected type name "Object.y", expected "Object.x.a"'),
    ],
)
def test_what_is_no_value_of_a_patch(text: str, why: str) -> None:
    with pytest.raises(MutationError, match=why):
        made(f"[JSONPatch{{op: 'add', path: '/x', value: {text}}}]", {})
