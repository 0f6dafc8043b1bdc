"""The items of a list that comes piece by piece, wherever it is cut."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.items import Items
from proxy.mapping.token import LABEL

TOKEN = "k3fq7zn2a"
TEXTS = st.sampled_from(['"items":[', "]}\n", '],"metadata":{', "]}", "\\", "x", '{"kind":"Status"'])


def written(value: dict[str, Any], *, sort: bool = False) -> bytes:
    """As a kube-apiserver does; sorted where it is of custom resources."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS if sort else 0) + b"\n"


def a_list(items: list[Any], **more: Any) -> dict[str, Any]:
    return {"kind": "XList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items} | more


def fed(body: bytes, cuts: list[int]) -> tuple[Items, bytes]:
    items = Items(TOKEN)
    found, at = b"", 0
    for cut in sorted({min(cut, len(body)) for cut in cuts} | {len(body)}):
        if cut > at:
            found += items.feed(body[at:cut])
            at = cut
    return items, found + items.flush()


@given(st.lists(TEXTS, max_size=4), st.lists(st.integers(0, 400), max_size=8), st.booleans())
def test_wherever_it_is_cut(texts: list[str], cuts: list[int], sort: bool) -> None:
    own = [
        {"metadata": {"name": f"n{at}", "labels": {LABEL: TOKEN}}, "data": {"a": text}} for at, text in enumerate(texts)
    ]
    items, found = fed(written(a_list(own), sort=sort), cuts)
    assert orjson.loads(b"[" + found + b"]") == own
    page = items.page
    assert page is not None
    assert page.resource_version == "7"
    assert orjson.loads(page.head + b"{}}") == {"kind": "XList", "apiVersion": "v1", "metadata": {}}
    assert not page.items


@given(st.lists(st.integers(0, 300), max_size=8))
def test_tables(cuts: list[int]) -> None:
    rows = [{"cells": ["a", 1], "object": {"metadata": {"name": "a"}}}]
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "7"},
             "columnDefinitions": [{"name": 'N"rows":['}], "rows": rows}  # fmt: skip
    items, found = fed(written(table), cuts)
    assert orjson.loads(b"[" + found + b"]") == rows
    assert items.page is not None
    assert items.page.between == b',"columnDefinitions":[{"name":"N\\"rows\\":["}],"rows":['


@pytest.mark.parametrize("items", [[], None])
def test_nothing_in_it(items: list[Any] | None) -> None:
    for sort in (False, True):
        listed, found = fed(written(a_list(items), sort=sort), [3, 40])  # type: ignore[arg-type]
        assert not found
        assert listed.page is not None


@pytest.mark.parametrize("missing", [1, 2, 3, 20, 60])
@pytest.mark.parametrize("sort", [False, True])
def test_what_ends_too_early_is_no_list(missing: int, sort: bool) -> None:
    body = written(a_list([{"metadata": {"name": "a"}}]), sort=sort)
    if missing == 1:
        fed(body[:-1], [30])  # the line break is not needed
        return
    with pytest.raises(StatusError):
        fed(body[:-missing], [30])


def test_foreign_items_that_are_looked_at_whole_do_not_pass() -> None:
    body = written(a_list([{"metadata": {"name": "a", "labels": {LABEL: "kaaaaaaaa"}}}]), sort=True)
    with pytest.raises(StatusError):
        fed(body, [])
