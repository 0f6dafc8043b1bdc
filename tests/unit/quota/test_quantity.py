"""Amounts are written, added and compared as API servers do it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.quota.quantity import NANO, Quantity, Suffixes, greatest, parse, total


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("0", "0"), ("0Gi", "0"), ("1", "1"), ("1000m", "1"), ("1500m", "1500m"), ("0.5", "500m"), (".5", "500m"),
        ("5.", "5"), ("1000", "1k"), ("100k", "100k"), ("1024", "1024"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"),
        ("1023Ki", "1023Ki"), ("0.5Ki", "512"), ("0.1Gi", "107374182400m"), ("1e3", "1e3"), ("12e5", "1200e3"),
        ("1E", "1E"), ("1E2", "100"), ("-5", "-5"), ("+5", "5"), ("1n", "1n"), ("0.1n", "1n"), ("7e-3", "7e-3"),
        ("16Ei", "16Ei"),
    ],
)  # fmt: skip
def test_written(text: str, written: str) -> None:
    assert str(parse(text)) == written


@pytest.mark.parametrize("text", ["", ".", "Gi", "1 Gi", "1GiB", "0x1", "1e", "--1", "１"])
def test_no_quantities(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse(text)


@given(st.integers(-(10**30), 10**30), st.sampled_from(Suffixes))
def test_what_is_written_means_the_same(nanos: int, suffixes: Suffixes) -> None:
    assert parse(str(Quantity(nanos, suffixes))).nanos == nanos


def test_sums() -> None:
    assert str(parse("300m") + parse("700m")) == "1"
    assert str(parse("1Gi") + parse("1000M")) == "2073741824"
    assert str(parse("1000M") + parse("1Gi")) == "2073741824"
    assert str(parse("0") + parse("1Gi")) == "1Gi"  # nothing has no say
    one, other = {"a": parse("1"), "b": parse("2")}, {"b": parse("3"), "c": parse("4")}
    assert {key: str(value) for key, value in total((one, other)).items()} == {"a": "1", "b": "5", "c": "4"}
    assert {key: str(value) for key, value in greatest((one, other)).items()} == {"a": "1", "b": "3", "c": "4"}


def test_rounded_up() -> None:
    assert parse("1500m").whole().nanos == 2 * NANO
    assert parse("2Gi").whole() == parse("2Gi")
