"""Types that workspaces share: requests find their CRD, answers lose its identity, and nothing else is reached."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.gate import gate, gate_mapped
from proxy.mapping.paths import parse
from proxy.mapping.request import MappedRequest, map_request
from proxy.mapping.shared import (
    IDENTITY_LENGTH,
    LENGTH,
    digest_of,
    holds_identity,
    identity_of,
    plain_group,
    without_identities,
)
from proxy.mapping.shared import shared_group as group_of
from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes
from proxy.mapping.token import token_of
from tests.unit.mapping.support import TOKEN, P, Scopes

IDENTITY, OTHER = "abcdefgh2345", "zzzzzzzz7777"
GROUP = "example.com"
MOONS, SUNS = group_of(IDENTITY, GROUP), group_of(OTHER, GROUP)
SHARED = {"moons": MOONS, "suns": SUNS}


class Bound(Scopes):
    """Shares Moons, which are namespaced, and Suns, which are not; Widgets are the workspace's own."""

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return (group, resource) == (GROUP, "suns")

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return (group, kind) == (GROUP, "Sun")

    def shared_group(self, group: str, resource: str) -> str:
        return SHARED.get(resource, "") if group == GROUP else ""

    def shared_group_of_kind(self, group: str, kind: str) -> str:
        return SHARED.get(f"{kind.lower()}s", "") if group == GROUP else ""


def send(method: str, target: str, body: Any = None, content_type: str = "application/json") -> MappedRequest:
    raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    info = parse(method.encode(), target.encode())
    headers = [(b"content-type", content_type.encode())] if raw else []
    mapped = map_request(info, TOKEN, method=method.encode(), headers=headers, body=raw, scopes=Bound())
    gate_mapped(method.encode(), mapped, TOKEN)
    return mapped


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/namespaces/default/moons/luna", f"/apis/{MOONS}/v1/namespaces/{P}default/moons/luna"),
        ("/namespaces/default/moons/luna/status", f"/apis/{MOONS}/v1/namespaces/{P}default/moons/luna/status"),
        ("/suns/sol", f"/apis/{SUNS}/v1/suns/{P}sol"),
        ("/namespaces/default/widgets/w", f"/apis/{P}example.com/v1/namespaces/{P}default/widgets/w"),
    ],
)
def test_paths(target: str, path: str) -> None:
    mapped = send("GET", f"/apis/{GROUP}/v1{target}")
    assert mapped.target.decode() == f"{path}?pretty=false"
    assert mapped.attributes.group == f"{P}example.com", "roles name the workspace's own group"


def test_lists_and_watches_are_confined() -> None:
    listing = send("GET", f"/apis/{GROUP}/v1/suns").listing
    assert listing is not None
    assert listing.path == f"/apis/{SUNS}/v1/suns"
    watch = send("GET", f"/apis/{GROUP}/v1/moons?watch=true&labelSelector=a%3Db")
    assert watch.target.decode().endswith(f"labelSelector=0.kcp.dev%2Fw%3D{TOKEN}%2Ca%3Db&pretty=false")


def test_bodies() -> None:
    owners = [
        {"apiVersion": f"{GROUP}/v1", "kind": "Sun", "name": "sol", "uid": "1"},
        {"apiVersion": f"{GROUP}/v1", "kind": "Moon", "name": "luna", "uid": "2"},
        {"apiVersion": f"{GROUP}/v1", "kind": "Widget", "name": "w", "uid": "3"},
    ]
    meta = {"name": "a", "ownerReferences": owners, "managedFields": [{"apiVersion": f"{GROUP}/v1beta1"}]}
    moon = {"apiVersion": f"{GROUP}/v1", "kind": "Moon", "metadata": meta, "spec": {"group": GROUP}}
    mapped = orjson.loads(send("POST", f"/apis/{GROUP}/v1/namespaces/default/moons", moon).body)
    assert mapped["apiVersion"] == f"{MOONS}/v1"
    assert mapped["spec"] == {"group": GROUP}
    assert mapped["metadata"]["managedFields"] == [{"apiVersion": f"{MOONS}/v1beta1"}]
    assert [(owner["apiVersion"], owner["name"]) for owner in mapped["metadata"]["ownerReferences"]] == [
        (f"{SUNS}/v1", f"{P}sol"), (f"{MOONS}/v1", "luna"), (f"{P}example.com/v1", "w")
    ]  # fmt: skip
    sent = orjson.dumps(mapped)
    plain = orjson.loads(strip_bytes(sent, TOKEN))
    assert plain == moon


def test_delete_options_of_the_types_own_group() -> None:
    options = {"apiVersion": f"{GROUP}/v1", "kind": "DeleteOptions"}
    mapped = send("DELETE", f"/apis/{GROUP}/v1/suns/sol", options)
    assert orjson.loads(mapped.body)["apiVersion"] == f"{SUNS}/v1"


def test_quotas() -> None:
    hard = {"count/moons.example.com": "1", "count/widgets.example.com": "2", "pods": "3"}
    body = {"metadata": {"name": "q"}, "spec": {"hard": hard}}
    mapped = orjson.loads(send("POST", "/api/v1/namespaces/default/resourcequotas", body).body)
    assert mapped["spec"]["hard"] == {
        f"count/moons.{MOONS}": "1", f"count/widgets.{P}example.com": "2", "pods": "3"
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", f"/moons.{GROUP}"), ("PUT", f"/moons.{GROUP}")])
def test_no_crd_hides_what_is_shared(method: str, path: str) -> None:
    crd = {"metadata": {"name": f"moons.{GROUP}"}, "spec": {"group": GROUP}}
    content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(StatusError) as refusal:
        send(method, f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions{path}", crd, content_type)
    assert (refusal.value.code, refusal.value.reason) == (409, "AlreadyExists")


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"name":"a"},"data":{"x":"%b"}}' % MOONS.encode(),
        b'{"metadata":{"name":"a"},"data":{"x":"\\u0030kcp%b."}}' % IDENTITY.encode(),
    ],
)
def test_what_would_not_come_back_is_refused(body: bytes) -> None:
    with pytest.raises(StatusError) as refusal:
        send("POST", "/api/v1/namespaces/default/configmaps", body)
    assert refusal.value.code == 422


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", f"/apis/{MOONS}/v1/namespaces/default/moons/luna"),
        ("GET", f"/apis/{MOONS}/v1/namespaces/k2222aaaa-default/moons"),
        ("GET", f"/apis/{SUNS}/v1/suns/sol"),
        ("DELETE", f"/apis/{SUNS}/v1/suns/k2222aaaa-sol"),
        ("GET", f"/apis/{SUNS}/v1/suns"),
        ("DELETE", f"/apis/{MOONS}/v1/moons"),
        ("GET", f"/apis/{MOONS}/v1/moons?labelSelector=0.kcp.dev%2Fw%3Dk2222aaaa"),
        ("POST", f"/apis/{SUNS}/v1/suns"),
        ("GET", f"/apis/0kcp{IDENTITY}/v1/namespaces/{P}default/moons"),
        ("GET", f"/apis/0kcpx.{GROUP}/v1/namespaces/{P}default/moons"),
        ("GET", f"/apis/internal.kcp.dev/v1alpha1/typebindings/{P}moons.{GROUP}"),
        ("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/moons.{MOONS}"),
    ],
)
def test_the_gate(method: str, target: str) -> None:
    body = b'{"metadata":{"name":"k2222aaaa-sol"}}' if method == "POST" else b""
    with pytest.raises(StatusError) as refusal:
        gate(method.encode(), target.encode(), body, TOKEN, b"application/json")
    assert refusal.value.code == 403


ANSWER = (
    b'{"apiVersion":"%b/v1","metadata":{"name":"%bsol","labels":{"0.kcp.dev/w":"%b"},"managedFields":'
    b'[{"apiVersion":"%b/v1"}],"ownerReferences":[{"apiVersion":"%b/v1"}]},"spec":{"x":"0kcp","y":"0kcpabc."}}'
) % tuple(word.encode() for word in (SUNS, P, TOKEN, SUNS, MOONS))
PLAIN = (
    b'{"apiVersion":"example.com/v1","metadata":{"name":"sol","managedFields":[{"apiVersion":"example.com/v1"}],'
    b'"ownerReferences":[{"apiVersion":"example.com/v1"}]},"spec":{"x":"0kcp","y":"0kcpabc."}}'
)


def filtered(pieces: list[bytes]) -> bytes:
    stream = ResponseFilter(patterns(TOKEN))
    return b"".join(stream.feed(piece) for piece in pieces) + stream.flush()


@pytest.mark.parametrize("at", range(len(ANSWER)))
def test_answers_lose_it_wherever_they_are_cut(at: int) -> None:
    assert filtered([ANSWER[:at], ANSWER[at:]]) == PLAIN


def test_answers_lose_it_byte_by_byte() -> None:
    assert filtered([ANSWER[at : at + 1] for at in range(len(ANSWER))]) == PLAIN
    assert strip_bytes(ANSWER, TOKEN) == PLAIN


@given(st.lists(st.sampled_from([MOONS, SUNS, "0kcp", "0", "0k", "a.", P, "kcp", IDENTITY, "0kcp0kcp"]), max_size=12))
def test_cut_or_whole_is_the_same(words: list[str]) -> None:
    data = "".join(words).encode()
    whole = filtered([data])
    assert filtered([data[at : at + 1] for at in range(len(data))]) == whole


def test_many_at_once() -> None:
    groups = [group_of(identity_of(digest_of(b"%d" % number)), "a") for number in range(100)]
    assert without_identities(",".join(groups).encode()) == b",".join([b"a"] * 100)


@given(st.binary())
def test_identities(content: bytes) -> None:
    identity = identity_of(digest_of(content))
    group = group_of(identity, GROUP)
    assert len(identity) == IDENTITY_LENGTH
    assert len(group) == LENGTH + len(GROUP)
    assert plain_group(group) == GROUP
    assert holds_identity(group.encode())
    assert token_of(group) is None, "nobody's own"


@pytest.mark.parametrize("group", [GROUP, f"{P}example.com", f"{P}{MOONS}", f"0kcp{IDENTITY}", "0kcp.example.com", ""])
def test_other_groups(group: str) -> None:
    assert plain_group(group) is None
