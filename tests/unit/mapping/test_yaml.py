"""YAML means here what it means to a kube-apiserver. Expected values: go.yaml.in/yaml/v2's ``decode_test.go``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mapping.yaml11 import MAX_SIZE, YAMLError, load


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hi", "hi"), ("true", True), ("yes", True), ("y", True), ("Off", False), ("N", False), ("yEs", "yEs"),
        ("'yes'", "yes"), ('"1"', "1"), ("", None), ("~", None), ("null", None), ("'~'", "~"),
        ("10", 10), ("-10", -10), ("+10", 10), ("0b10", 2), ("-0b10", -2), ("0x0A", 10), ("0o17", 15), ("017", 15),
        ("08", 8.0), ("1_000", 1000), ("9223372036854775807", 2**63 - 1), ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 18446744073709551616.0), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), (".1", 0.1), ("-.1", -0.1), ("1e3", 1000.0), ("1.", 1.0), ("1E-2", 0.01), ("1_0.5", 10.5),
        # What PyYAML alone would turn into numbers and dates.
        ("22:22", "22:22"), ("1:30:00", "1:30:00"), ("2015-01-01", "2015-01-01"),
        ("2015-02-24T18:19:39Z", "2015-02-24T18:19:39Z"), ("1.2.3", "1.2.3"), ("0x", "0x"), ("1e", "1e"),
        ("1m", "1m"), ("500Mi", "500Mi"), ("..", ".."), ("-x", "-x"), ("=", "="),
        ("!!str 1", "1"), ("!!int 1", 1), ("!!float 1", 1.0), ("!!bool yes", True), ("!!null ~", None),
        ("!!binary aGk=", "hi"), ("!!timestamp 2015-01-01", "2015-01-01"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: Any) -> None:
    loaded = load(b"v: " + text.encode())["v"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_documents() -> None:
    assert load(b"") is None
    assert load(b"a: {b: [1, two, {c: d}]}\ne: |\n  text\n") == {"a": {"b": [1, "two", {"c": "d"}]}, "e": "text\n"}
    assert load(b"1: a\ntrue: b\n1.5: c\n'2': d") == {"1": "a", "true": "b", "1.5": "c", "2": "d"}


def test_anchors_and_merges() -> None:
    assert load(b"a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 2},
        "e": {"b": 1, "c": 3},
    }
    assert load(b"a: &x {b: 1}\nc: &y {b: 2, d: 3}\ne: {<<: [*x, *y]}")["e"] == {"b": 1, "d": 3}


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2", "a: {b: 1, b: 2}", "{[1]: 2}", "~: 1", "a: [", "a: *unknown", "a\n---\nb", "a: !!int x",
        "a: !custom x", "a: !!bool 1", "a: .inf", "a: .nan", "a: !!binary '***x'", "<<: 1", "a: &a [*a]",
        "a: \x00", "a:\n\t- b", "a: " + "[" * 200 + "]" * 200, "- " * 60_000, "[" * 100_000, "{a: " * 20_000,
        "? " * 50_000, "!!python/object/apply:os.getcwd []", "&a [*a]", "{a: &a 1, b: &b {<<: *b}}", "a: !!set {b}: c",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    if "!!python" in text:
        assert load(text.encode()) == []  # a tag on a collection has no meaning here
        return
    with pytest.raises(YAMLError):
        load(text.encode())


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(YAMLError, match="aliasing"):
        load("\n".join(lines).encode())
    merges = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(100)) + "}"]
    merges += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 30)}]}}" for i in range(1, 5)]
    with pytest.raises(YAMLError, match="aliasing"):
        load("\n".join(merges).encode())


def test_what_an_alias_stands_for_is_not_shared() -> None:
    value = load(b"a: &x {b: {c: d}}\ne: *x\nf: {<<: *x}")
    value["a"]["b"]["c"] = "changed"
    assert value["e"] == value["f"] == {"b": {"c": "d"}}


def test_too_much_of_it() -> None:
    with pytest.raises(YAMLError, match="send JSON"):
        load(b"a: " + b"x" * MAX_SIZE)


texts = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=8)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e9, 1e9) | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=15,
    )
)
def test_json_is_yaml(value: Any) -> None:
    loaded = load(json.dumps({"v": value}).encode())
    assert loaded == {"v": value}
