"""The plugins' HTTP: how answers end, what is kept, and what is no request."""

from __future__ import annotations

import ssl

import pytest

from proxy.cli.overrides import ClientError
from proxy.cli.servers import Servers
from tests.unit.cli.stub_server import answer, stub

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
TO_THE_END = b"HTTP/1.1 502 Bad Gateway\r\n\r\nno such"
HTTP10 = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ANNOUNCED = b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"{}")
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


def servers(headers: dict[str, str] | None = None) -> Servers:
    return Servers(ssl.create_default_context(), None, headers or {})


@pytest.mark.parametrize(
    ("said", "closes", "heard"),
    [
        (answer(b"{}"), False, (200, b"{}")),
        (answer(b"", "404 Not Found"), False, (404, b"")),
        (CHUNKED, False, (200, b"{}")),
        (TO_THE_END, True, (502, b"no such")),
        (HTTP10, True, (200, b"{}")),
        (ANNOUNCED, False, (200, b"{}")),
        (NOTHING, False, (204, b"")),
    ],
    ids=["length", "no body", "chunks", "until the end", "HTTP/1.0", "announced", "nothing"],
)
def test_an_answer_ends_where_it_says(said: bytes, closes: bool, heard: tuple[int, bytes]) -> None:
    with stub(said, answer(b"next"), closes=closes) as server:
        asking = servers()
        assert asking.ask("GET", f"{server.url}/a?b=c", None, {}) == heard
        assert asking.ask("GET", f"{server.url}/a?b=c", None, {}) == (200, b"next")
        assert server.connections == (2 if closes else 1)
        assert server.requests[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")


def test_a_body_is_sent_whole() -> None:
    with stub(answer(b"")) as server:
        servers({"Authorization": "Bearer x"}).ask("POST", server.url, b"{}", {"Content-Type": "application/json"})
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert head.split(b"\r\n")[0] == b"POST / HTTP/1.1"
        assert head.split(b"\r\n")[2:] == [
            b"Authorization: Bearer x", b"Content-Type: application/json", b"Content-Length: 2",
        ]  # fmt: skip
        assert body == b"{}"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "it ended the connection"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "it ended the connection"),
        (b"", "it ended the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Expected HTTP/"),
    ],
)
def test_what_is_no_answer(said: bytes, why: str) -> None:
    with stub(said, closes=True) as server, pytest.raises(ClientError, match=f"cannot be reached: .*{why}"):
        servers().ask("GET", server.url, None, {})


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nX: y", {}), ("/", {"Impersonate-User": "a\r\nX: y"}), ("/", {"Impersonate-User": "\u4e2d"})],
)
def test_what_is_no_request_is_not_sent(path: str, headers: dict[str, str]) -> None:
    with pytest.raises(ClientError):
        servers().ask("GET", f"http://127.0.0.1:1{path}", None, headers)
