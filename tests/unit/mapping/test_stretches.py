"""Lists over all namespaces in parts: each key of the workspace is in one of them, in order, and no other."""

from __future__ import annotations

import urllib.parse

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mapping.gate import gate
from proxy.mapping.listing import LATEST, Listing, make_token, read_token
from proxy.mapping.stretches import Stretch, by_namespace, namespaces_target, target_of, whole
from tests.unit.mapping.support import TOKEN, P, send

NAMES = st.text("ab-.", min_size=1, max_size=4)
NAMESPACES = st.from_regex("[ab]([ab-]{0,3}[ab])?", fullmatch=True)


def listing(start: str = P, version: int = LATEST) -> Listing:
    return Listing("/apis/apps/v1/deployments", (), 0, make_token(start, version), TOKEN, in_namespaces=True)


def namespaces(*names: str, version: str = "7", going_on: str = "") -> bytes:
    meta = {"resourceVersion": version, "continue": going_on}
    items = [{"metadata": {"name": name}} for name in names]
    return orjson.dumps({"kind": "NamespaceList", "apiVersion": "v1", "metadata": meta, "items": items})


def keys(stretch: Stretch, there: list[tuple[str, str]]) -> list[str]:
    """What a shard that holds objects of ``there``, namespace and name, reads of ``stretch``."""
    namespace = stretch.path.split("/")[-2]
    start = read_token(stretch.start)[0] if stretch.start else ""
    return [f"{namespace}/{name}" for name in sorted(name for of, name in there if of == namespace and name >= start)]


@given(st.sets(st.tuples(NAMESPACES, NAMES)), st.text("ab-./", max_size=6))
def test_each_key_from_the_start_on_once_and_in_order(objects: set[tuple[str, str]], begin: str) -> None:
    there = [(P + namespace, name) for namespace, name in objects]
    names = sorted({namespace for namespace, _ in there})
    stretches = by_namespace(listing(P + begin), namespaces(*names), len(names))
    read = [key for stretch in stretches for key in keys(stretch, there)]
    assert read == sorted(f"{namespace}/{name}" for namespace, name in there if f"{namespace}/{name}" >= P + begin)


def test_all_are_read_at_the_version_of_the_namespaces() -> None:
    stretches = by_namespace(listing(f"/{P}a/x\0"), namespaces(f"{P}a", f"{P}a-b", f"{P}b"), 3)
    of = "/apis/apps/v1/namespaces/%s/deployments"
    assert stretches == [Stretch(of % f"{P}a", make_token("x\0", 7)), Stretch(of % f"{P}b", "", "7")]
    assert target_of(stretches[0], (), 3).decode().startswith(of % f"{P}a" + "?limit=3&continue=")
    assert target_of(stretches[1], (("a", "b"),), 3).decode() == (
        of % f"{P}b" + "?a=b&limit=3&resourceVersion=7&resourceVersionMatch=Exact&pretty=false"
    )
    assert stretches[1].behind("NEXT") == Stretch(of % f"{P}b", "NEXT")
    for stretch in stretches:
        gate(b"GET", target_of(stretch, (), 3), b"", TOKEN)


@pytest.mark.parametrize("version", [LATEST, 5])
def test_the_namespaces_are_those_at_the_lists_version(version: int) -> None:
    target = namespaces_target(listing(f"{P}b/x\0", version), 4)
    gate(b"GET", target, b"", TOKEN)
    path, _, query = target.decode().partition("?")
    asked = dict(urllib.parse.parse_qsl(query))
    assert (path, asked["limit"], read_token(asked["continue"])) == ("/api/v1/namespaces", "5", (P, version))


def test_where_nothing_is_left_it_is_a_namespace_that_there_cannot_be() -> None:
    for there, start in (((), P), ((f"{P}a",), f"{P}b/")):
        (nowhere,) = by_namespace(listing(start), namespaces(*there), 3)
        assert nowhere == Stretch(f"/apis/apps/v1/namespaces/{P}-/deployments", "", "7")
        gate(b"GET", target_of(nowhere, (), 3), b"", TOKEN)


def test_namespaces_of_others_are_none() -> None:
    stretches = by_namespace(listing(), namespaces(f"{P}a", "k3fq7zn2b-a"), 1)
    assert [stretch.path for stretch in stretches] == [f"/apis/apps/v1/namespaces/{P}a/deployments"]


@pytest.mark.parametrize(
    "answer",
    [
        namespaces(f"{P}a", f"{P}b"), namespaces(f"{P}a", going_on="NEXT"), namespaces(f"{P}a", version=""),
        b'{"kind":"Status","metadata":{}}', b"no JSON",
    ],
)  # fmt: skip
def test_too_many_namespaces_and_none_that_can_be_read(answer: bytes) -> None:
    assert by_namespace(listing(), answer, 1) == []


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/api/v1/pods", True), ("/apis/apps/v1/deployments?limit=5&resourceVersion=0", True),
        ("/api/v1/namespaces", False), ("/apis/rbac.authorization.k8s.io/v1/clusterroles", False),
        ("/apis/example.com/v1/planets", False), ("/apis/example.com/v1/widgets", False),
    ],
)  # fmt: skip
def test_which_lists_stand_among_those_of_others(path: str, there: bool) -> None:
    mapped = send("GET", path)
    assert mapped.listing is not None
    assert mapped.listing.in_namespaces is there
    assert whole(mapped.listing) == Stretch(mapped.listing.path, mapped.listing.start)
