"""The items of a list that comes piece by piece, wherever it is cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.items import Items

TEXTS = st.sampled_from(['"items":[', "]}\n", '],"kind":"', "]}", "\\", "x", '{"kind":"Status"'])
KEYS = ("rows", "items", "kind", "metadata")
INSIDE = st.recursive(
    TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=2),
    max_leaves=5,
)
CUTS = st.lists(st.integers(0, 600), max_size=8)


def written(value: dict[str, Any], *, custom: bool = False) -> bytes:
    """As a kube-apiserver does; sorted where it is of custom resources."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if custom else 0) + b"\n"


def a_list(items: list[Any] | None) -> dict[str, Any]:
    return {"kind": "XList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}


def fed(body: bytes, cuts: list[int]) -> tuple[Items, bytes]:
    items = Items()
    found, at = b"", 0
    for cut in sorted({min(cut, len(body)) for cut in cuts} | {len(body)}):
        if cut > at:
            found += items.feed(body[at:cut])
            at = cut
    return items, found + items.flush()


@given(st.lists(INSIDE, max_size=4), CUTS, st.booleans())
def test_wherever_it_is_cut(inside: list[Any], cuts: list[int], custom: bool) -> None:
    own = [{"data": part, "metadata": {"name": "x"}} for part in inside]
    body = written(a_list(own), custom=custom)
    items, found = fed(body, cuts)
    assert items.beginning + found + items.ending == body
    assert orjson.loads(b"[" + found + b"]") == own


@given(CUTS)
def test_tables(cuts: list[int]) -> None:
    rows = [{"cells": ["a", 1], "object": {"metadata": {"name": "a"}, "items": [1]}}]
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
             "columnDefinitions": [{"name": 'N"rows":['}], "rows": rows}  # fmt: skip
    items, found = fed(written(table), cuts)
    assert orjson.loads(b"[" + found + b"]") == rows
    assert items.beginning + found + items.ending == written(table)


@pytest.mark.parametrize("custom", [False, True])
def test_long_lists_are_not_kept(custom: bool) -> None:
    body = written(a_list([{"metadata": {"name": "x" * 100}}] * 1000), custom=custom)
    items, out = Items(), 0
    for at in range(0, len(body), 5000):
        out += len(items.feed(body[at : at + 5000]))
        assert min(at + 5000, len(body)) - out < 1200


@pytest.mark.parametrize("custom", [False, True])
def test_nothing_in_it(custom: bool) -> None:
    items, found = fed(written(a_list([]), custom=custom), [3, 40])
    assert not found
    assert items.ending
    body = written(a_list(None), custom=custom)
    items, found = fed(body, [3, 40])
    assert (items.beginning, found, items.ending) == (body, b"", b"")


@pytest.mark.parametrize("missing", [1, 2, 3, 5])
@pytest.mark.parametrize("custom", [False, True])
def test_what_ends_too_early_is_no_list(missing: int, custom: bool) -> None:
    body = written(a_list([{"metadata": {"name": "a"}}]), custom=custom)
    if missing == 1:
        fed(body[:-1], [30])  # the line break is not needed
        return
    with pytest.raises(StatusError):
        fed(body[: -missing - custom], [30])
