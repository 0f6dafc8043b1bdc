"""Lists from pages: what is the workspace's own leaves, nothing else does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.listing import join_items, list_metadata, split_page
from proxy.mapping.stream import strip_bytes
from proxy.mapping.stretches import target_of, whole
from tests.unit.mapping.support import TOKEN, P, send


def item(namespace: str, name: str) -> dict[str, Any]:
    token = (namespace or name)[:9]
    meta = {"name": name, **({"namespace": namespace} if namespace else {}), "labels": {"0.kcp.dev/w": token}}
    return {"metadata": meta, "spec": {"namespace": "x"}}


def page(items: list[dict[str, Any]] | None, *, table: bool = False, going_on: str = "") -> bytes:
    meta = {"resourceVersion": "42", **({"continue": going_on, "remainingItemCount": 99} if going_on else {})}
    if not table:
        return orjson.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items})
    rows = None if items is None else [{"cells": [each["metadata"]["name"]], "object": each} for each in items]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": [{"name": "Name"}]}
    return orjson.dumps({**head, "rows": rows})


def assembled(body: bytes) -> Any:
    cut = split_page(body, TOKEN)
    whole = (
        cut.head + list_metadata(cut.resource_version, cut.next) + cut.between + join_items(cut.items, TOKEN) + b"]}"
    )
    return orjson.loads(strip_bytes(whole, TOKEN))


@pytest.mark.parametrize("table", [False, True])
@given(st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_only_its_own(table: bool, own: int, foreign: int, namespaced: bool) -> None:
    mine = [item(f"{P}default" if namespaced else "", f"{'' if namespaced else P}p{i}") for i in range(own)]
    others = [
        item("kotherot2-x" if namespaced else "", f"{'' if namespaced else 'kotherot2-'}{P}p{i}")
        for i in range(foreign)
    ]
    body = page(mine + others, table=table, going_on="NEXT")
    result = assembled(body)
    shown = result["rows" if table else "items"]
    names = [(each["object"] if table else each)["metadata"]["name"] for each in shown]
    assert names == [f"p{i}" for i in range(own)]
    assert b"kotherot2" not in orjson.dumps(result)
    assert result["metadata"] == (
        {"resourceVersion": "42", "continue": "NEXT"} if not foreign else {"resourceVersion": "42"}
    )
    assert result["kind"] == ("Table" if table else "PodList")
    assert ("columnDefinitions" in result) == table


def test_the_group_in_the_head_is_plain() -> None:
    body = orjson.dumps(
        {"kind": "PlanetList", "apiVersion": f"{P}example.com/v1", "metadata": {"resourceVersion": "1"}, "items": []}
    )
    cut = split_page(body, TOKEN)
    assert b'"example.com/v1"' in cut.head


@pytest.mark.parametrize("table", [False, True])
def test_empty_pages(table: bool) -> None:
    nothing: tuple[list[dict[str, Any]] | None, ...] = ([], None)
    for items in nothing:
        assert assembled(page(items, table=table))["rows" if table else "items"] == []


def test_the_shards_own_objects_are_foreign() -> None:
    assert assembled(page([item("kube-system", "x")]))["items"] == []
    assert assembled(page([item("", f"{TOKEN}")]))["items"] == []
    assert assembled(page([item("", f"{TOKEN}x")]))["items"] == []
    assert assembled(page([{"metadata": {"name": f"{P}x", "namespace": "default"}}]))["items"] == []
    assert assembled(page([{"spec": 1}]))["items"] == []


def test_own_objects_behind_foreign_ones_do_not_come_with_them() -> None:
    body = page([item(f"{P}a", "1"), item("kotherot2-a", "2"), item(f"{P}b", "3")])
    assert [each["metadata"]["name"] for each in assembled(body)["items"]] == ["1"]


def test_the_last_look_at_labels() -> None:
    wrong = item(f"{P}a", "1")
    wrong["metadata"]["labels"]["0.kcp.dev/w"] = "kotherot2"
    with pytest.raises(StatusError) as caught:
        assembled(page([wrong]))
    assert caught.value.code == 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"items":[1]}', b'{"items":{}}', b'{"metadata":{"continue":1}}'])
def test_answers_that_are_no_lists(body: bytes) -> None:
    with pytest.raises(StatusError) as caught:
        split_page(body, TOKEN)
    assert caught.value.code == 500


def test_page_targets() -> None:
    listing = send("GET", "/api/v1/pods?limit=3&timeoutSeconds=9&resourceVersion=0&includeObject=None").listing
    assert listing is not None
    assert target_of(whole(listing).behind("TOKEN"), listing.query, 3) == (
        b"/api/v1/pods?timeoutSeconds=9&includeObject=Metadata&limit=3&continue=TOKEN&pretty=false"
    )
