"""A head that a connection has had before: what is taken without the parser, and that nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.server.heads import LARGEST, MOST, Heads
from proxy.server.http1 import Refused, RequestParser
from proxy.server.settings import Limits
from tests.unit.server.conversation import Talk, answers, get, post


def parser(peer_cert: bytes | None = None) -> RequestParser:
    return RequestParser(Limits(), peer_cert)


def fed(parser: RequestParser, data: bytes) -> None:
    parser.feed(data)
    parser.requests.popleft()


def test_the_same_head_with_any_target() -> None:
    parse = parser()
    assert parse.again(get("/a", "Accept: x")) is None
    fed(parse, get("/a", "Accept: x"))
    parsed = parse.again(get("/b?c=%20", "Accept: x"))
    assert parsed is not None
    request = parsed.request
    assert (request.method, request.target, request.body) == (b"GET", b"/b?c=%20", b"")
    assert request.headers == [(b"host", b"proxy"), (b"accept", b"x")]
    assert parsed.keep
    assert parse.again(get("/b", "Accept: y")) is None
    fed(parse, get("/b", "Accept: y"))
    assert parse.again(get("/b", "Accept: y")) is not None, "the parser goes on as if it had seen all"


@pytest.mark.parametrize(
    "data",
    [
        get("/", method="HEAD"),
        get("/", method="DELETE"),
        post(b"{}"),
        get("/", "Content-Length: 0"),
        get("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get("/", "Connection: close"),
        get("/", "Connection: upgrade", "Upgrade: websocket"),
        get("/", version="1.0"),
        get("/", "Connection: keep-alive", version="1.0"),
        get("http://proxy/"),
        b"\r\n" + get("/"),
        get("/") + get("/"),
        get("/", f"Accept: {'x' * LARGEST}"),
    ],
)
def test_what_is_more_than_a_head_is_parsed_each_time(data: bytes) -> None:
    parse = parser()
    parse.feed(data)
    parse.requests.clear()
    assert parse.again(data) is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1", b"GET /\tx HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1", b"GET /",
        b"GET /a#b HTTP/1.1", b"GET a HTTP/1.1", b"GET /\xc3\xa4 HTTP/1.1", b"GET /\0 HTTP/1.1", b"get / HTTP/1.1",
        b"POST / HTTP/1.1", b"GET / HTTP/1.1\nX: y", b"GET http://proxy/ HTTP/1.1", b"",
    ],
)  # fmt: skip
def test_first_lines_that_are_not_plain(line: bytes) -> None:
    parse = parser()
    fed(parse, get())
    block = get().partition(b"\r\n")[2]
    assert parse.again(line + b"\r\n" + block) is None


def test_more_than_one_request_and_less_than_one() -> None:
    parse = parser()
    fed(parse, get())
    assert parse.again(get() + get()) is None
    assert parse.again(get() + b"G") is None
    parse.feed(get()[:-2])
    assert parse.again(get()) is None, "in the middle of another"


def test_targets_beyond_the_limit() -> None:
    parse = RequestParser(Limits(target=10))
    fed(parse, get("/short"))
    assert parse.again(get("/much-too-long")) is None
    with pytest.raises(Refused):
        parse.feed(get("/much-too-long"))


def test_keys_tell_apart_who_asks_and_with_what() -> None:
    def key(peer_cert: bytes | None, *headers: str) -> bytes:
        parse = parser(peer_cert)
        fed(parse, get("/", *headers))
        parsed = parse.again(get("/", *headers))
        assert parsed is not None
        return parsed.request.key

    assert key(None) == key(None) != b""
    assert len({key(None), key(b"one"), key(b"other"), key(None, "A: b"), key(None, "A: c")}) == 5


def test_no_more_than_a_few_are_kept() -> None:
    heads = Heads()
    parse = parser()
    for number in range(3 * MOST):
        data = get("/", f"Audit-ID: {number}")
        parse.feed(data)
        heads.keep(data, parse.requests.popleft().request)
    assert sum(heads.find(get("/", f"Audit-ID: {number}")) is not None for number in range(3 * MOST)) <= MOST


def test_the_clients_audit_id() -> None:
    parse = parser()
    fed(parse, get("/", "Audit-ID: mine"))
    parsed = parse.again(get("/", "Audit-ID: mine"))
    assert parsed is not None
    assert parsed.request.record.audit_id == b"mine"


@given(st.binary(max_size=30), st.binary(max_size=30))
def test_what_is_taken_is_what_the_parser_takes(first: bytes, second: bytes) -> None:
    """Whatever comes between a known head's bytes: if it is taken, llhttp reads the same out of it."""
    known = get()
    data = first + b" /" + second + known[5:]
    quick = parser()
    fed(quick, known)
    parsed = quick.again(data)
    if parsed is not None:
        slow = parser()
        slow.feed(data)
        [whole] = slow.requests
        assert (whole.request.target, whole.request.headers) == (parsed.request.target, parsed.request.headers)
        assert (whole.keep, whole.http10) == (parsed.keep, parsed.http10)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30))
def test_any_plain_target(rest: str) -> None:
    quick = parser()
    fed(quick, get())
    parsed = quick.again(get("/" + rest))
    slow = parser()
    try:
        slow.feed(get("/" + rest))
    except Refused:
        assert parsed is None
    else:
        assert parsed is not None
        assert slow.requests[0].request.target == parsed.request.target


async def test_a_conversation() -> None:
    talk = Talk()
    for path in ("/a", "/b", "/c"):
        talk.says(get(path))
        [message] = answers(talk.heard())
        assert message.body == b"ok"
    assert [request.target for request in talk.requests] == [b"/a", b"/b", b"/c"]
    assert [bool(request.key) for request in talk.requests] == [False, True, True]
    talk.says(get("/d") + get("/e"))
    assert len(answers(talk.heard())) == 2
    talk.says(get("/f"))
    talk.says(get("/g", "Connection: close"))
    assert len(answers(talk.heard())) == 2
    assert talk.wire.closed
