"""Indented JSON and YAML: the same document, wherever the stream was cut."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.mapping import yaml11
from proxy.mapping.reshape import Chain, Filter, Indented, Yaml, indented, yaml_of

texts = st.text(max_size=12) | st.sampled_from(
    ["true", "yes", "Y", "null", "~", "1", "1.5", "0x1f", "1e3", ".inf", "a: b", "a:", "a #b", "- a", "f:data", "<<",
     "a b", " a", "a ", "2026-11-25T20:00:00Z", "\u2028", "\x7f", "\x85", "\ufeff", "\\", '"', "\n", "é", "a/b.c-d"]
)  # fmt: skip
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.sampled_from([1.5, -0.25]) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"


def cut(shape: Filter, body: bytes, places: list[int]) -> bytes:
    out, at = [], 0
    for place in [*sorted(places), len(body)]:
        out.append(shape.feed(body[at:place]))
        at = place
    return b"".join(out) + shape.flush()


@settings(max_examples=150, deadline=None)
@given(documents, st.data())
def test_indented_as_go_does_it(value: Any, data: st.DataObject) -> None:
    body = compact(value)
    places = data.draw(st.lists(st.integers(0, len(body)), max_size=5))
    shown = cut(Indented(), body, places)
    assert shown == json.dumps(value, ensure_ascii=False, indent=2).encode()


@settings(max_examples=200, deadline=None)
@example({"a": [[], [[1, {"b": {}}], {"c": [{"d": 1, "e": []}]}]], "f": {}}, None)
@given(documents, st.data())
def test_yaml_says_the_same(value: Any, data: st.DataObject | None) -> None:
    body = compact(value)
    places = data.draw(st.lists(st.integers(0, len(body)), max_size=5)) if data else []
    shown = cut(Yaml(), body, places)
    assert yaml11.load(shown) == value
    assert yaml.safe_load(shown) == value
    assert shown == yaml_of(body)


def test_yaml_looks_as_people_expect_it() -> None:
    value = {
        "kind": "ConfigMap",
        "metadata": {"name": "cm", "labels": {"app.kubernetes.io/name": "x"}, "finalizers": ["a", "b"], "x": {}},
        "rules": [{"verbs": ["get", "list"], "apiGroups": [""]}, {"verbs": ["*"]}],
        "data": {"a": "several words", "b": "true", "c": "two\nlines"},
    }
    assert yaml_of(compact(value)).decode() == (
        "kind: ConfigMap\n"
        "metadata:\n"
        "  name: cm\n"
        "  labels:\n"
        "    app.kubernetes.io/name: x\n"
        "  finalizers:\n"
        "  - a\n"
        "  - b\n"
        "  x: {}\n"
        "rules:\n"
        "- verbs:\n"
        "  - get\n"
        "  - list\n"
        "  apiGroups:\n"
        '  - ""\n'
        "- verbs:\n"
        '  - "*"\n'
        "data:\n"
        "  a: several words\n"
        '  b: "true"\n'
        '  c: "two\\nlines"\n'
    )


@pytest.mark.parametrize("size", [1, 7, 64])
def test_filters_in_a_row(size: int) -> None:
    body = compact({"a": ["b", {"c": 1.5}]})
    chain = Chain(Indented(), Indented())
    out = b"".join(chain.feed(body[at : at + size]) for at in range(0, len(body), size)) + chain.flush()
    assert out == indented(body)


@pytest.mark.parametrize("make", [Indented, Yaml])
def test_a_string_whose_end_is_yet_to_come_is_kept_back_at_once(make: Callable[[], Filter]) -> None:
    """It was tried in 2ⁿ ways once: a second for 24 bytes, and twice that for each more."""
    reshaped = make()
    began = time.process_time()
    got = reshaped.feed(b'{"text":"' + b"x" * 24)
    assert time.process_time() - began < 0.2
    got += reshaped.feed(b"y" * 50_000) + reshaped.feed(b'"}') + reshaped.flush()
    assert yaml.safe_load(got) == {"text": "x" * 24 + "y" * 50_000}
