"""The tap finds what was put there for it: however answers are cut, packed, encoded."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from tests.wire.tap import Tap, owner_of

OURS, THEIRS = "k3fq7zn2a", "kotherot2"
WORKSPACES = {OURS: "root:ours", THEIRS: "root:theirs"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
JWT = base64.urlsafe_b64encode(json.dumps({"sub": f"system:serviceaccount:{OURS}-n:s"}).encode()).rstrip(b"=")


class Wire:
    """Where the bytes go on to."""

    def __init__(self) -> None:
        self.sent = b""

    def write(self, data: bytes) -> None:
        self.sent += data


def answer(body: bytes, *headers: bytes) -> bytes:
    return HEAD + b"".join(header + b"\r\n" for header in headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(*pieces: bytes) -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks


def found(
    data: bytes,
    *,
    at_once: int = 10_000,
    method: bytes = b"GET",
    of: str = "root:ours",
    query: str = "",
    body: bytes = b"",
) -> list[Any]:
    wire = Wire()
    notes: list[Any] = []
    tap = Tap(wire, WORKSPACES.get, lambda line: notes.append(json.loads(line)["found"]))
    tap.begin(method, f"/clusters/{of}/api/v1/pods{query}".encode(), body)
    for at in range(0, len(data), at_once):
        tap.write(data[at : at + at_once])
    assert wire.sent == data
    return notes


@pytest.mark.parametrize("at_once", [1, 7, 10_000])
@pytest.mark.parametrize("token", [OURS, THEIRS])
@pytest.mark.parametrize("form", ["plain", "gzip", "chunks", "header"])
def test_a_token_is_found(form: str, token: str, at_once: int) -> None:
    body = b'{"name":"%b-x"}' % token.encode()
    data = {
        "plain": answer(body),
        "gzip": answer(gzip.compress(body), b"Content-Encoding: gzip"),
        "chunks": chunked(body[:12], body[12:]),
        "header": answer(b"{}", b'Warning: 299 - "%b"' % body),
    }[form]
    notes = found(data, at_once=at_once)
    where = "header" if form == "header" else "body"
    assert set(notes) == {f"the token of {WORKSPACES[token]} in {where}"}


def test_a_head_is_looked_at_without_a_body() -> None:
    assert found(HEAD + b"Content-Length: 5\r\nX: %b\r\n\r\n" % OURS.encode(), method=b"HEAD")


def test_the_internal_label_is_found() -> None:
    assert found(answer(b'{"labels":{"0.kcp.dev/w":"x"}}')) == ["the internal label in body"]
    assert found(answer(b'{"f:labels":{"f:0.kcp.dev/w":{}}}')) == []
    assert found(answer(b'{"message":"Invalid value: \\"0.kcp.dev/w\\" is reserved"}')) == []


def test_claims_may_name_the_own_workspace_alone() -> None:
    token = answer(b'{"token":"eyJhbGciOiJSUzI1NiJ9.%b.x"}' % JWT)
    assert found(token) == []
    assert found(token, of="root:theirs") == ["the token of root:ours in encoded"]


def test_an_answer_may_repeat_its_request() -> None:
    label = answer(b'{"message":"label key 0.kcp.dev/w is reserved"}')
    assert found(label, query="?labelSelector=0.kcp.dev%2Fw%3Dx") == []
    assert found(answer(THEIRS.encode()), body=b'{"name":"%b-x"}' % THEIRS.encode()) == []
    assert found(answer(OURS.encode()), body=b'{"token":"x.%b.x"}' % JWT) == []
    assert found(answer(THEIRS.encode()), body=b'{"token":"x.%b.x"}' % JWT) != []


@pytest.mark.parametrize("at_once", [1, 10_000])
def test_a_name_of_another_workspace_is_found(at_once: int) -> None:
    theirs, ours = (f"canary-{owner_of(path)}-0123abcd" for path in ("root:theirs", "root:ours"))
    body = b'{"items":[{"name":"%b"},{"name":"%b"}]}' % (theirs.encode(), ours.encode())
    leak = "a name of another workspace in body"
    assert set(found(answer(body), at_once=at_once)) == {leak}
    assert set(found(answer(body), of="root:theirs", at_once=at_once)) == {leak}
    assert found(answer(ours.encode())) == []
    assert found(answer(theirs.encode()), query=f"?fieldSelector=metadata.name%3D{theirs}") == []


def test_what_is_no_workspace_is_nothing() -> None:
    assert found(answer(b'{"name":"kabcdefgh-x","k":"0.kcp.dev"}')) == []


def test_what_a_pod_says_is_its_own() -> None:
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: spdy/3.1\r\n\r\n"
    assert found(switched) == []
