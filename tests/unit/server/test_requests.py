"""Requests out of bytes: what is taken, what is refused, wherever reads begin and end."""

from __future__ import annotations

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.server.http1 import Refused, RequestParser
from proxy.server.messages import Request
from proxy.server.settings import Limits
from tests.unit.server.conversation import HOST, get, post

CHUNKED_POST = get("/c", "Transfer-Encoding: chunked", method="POST")


def parse(*reads: bytes, limits: Limits | None = None) -> list[Request]:
    parser = RequestParser(limits or Limits())
    for data in reads:
        parser.feed(data)
    assert not parser.receiving
    return [parsed.request for parsed in parser.requests]


def refused(*reads: bytes, limits: Limits | None = None) -> int:
    """Status of the refusal."""
    parser = RequestParser(limits or Limits())
    for data in reads:
        try:
            parser.feed(data)
        except Refused as refused:
            assert not parser.requests, "refused and yet taken"
            return refused.status.code
    pytest.fail("not refused")


def test_request() -> None:
    [request] = parse(b"PUT /api/v1?a=%2Fb HTTP/1.1\r\nHOST: x\r\nX-One:  two \t\r\nContent-Length: 3\r\n\r\nabc")
    assert request.method == b"PUT"
    assert request.target == b"/api/v1?a=%2Fb"
    assert request.headers == [(b"host", b"x"), (b"x-one", b"two"), (b"content-length", b"3")]
    assert request.body == b"abc"


def test_chunked_body_and_its_trailers() -> None:
    body = b"3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nAuthorization: Bearer other\r\nHost: other\r\n\r\n"
    [request] = parse(CHUNKED_POST + body)
    assert request.body == b"abcde"
    assert request.header(b"authorization") == b""
    assert [value for name, value in request.headers if name == b"host"] == [b"proxy"]


def test_absolute_target() -> None:
    [request] = parse(get("http://elsewhere:1/api?x=http://y/"))
    assert request.target == b"/api?x=http://y/"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        # Two framings, or one that can be read in two ways.
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (CHUNKED_POST + b"1\nx\r\n0\r\n\r\n", 400),
        (CHUNKED_POST + b"1\r\nxx\r\n0\r\n\r\n", 400),
        (CHUNKED_POST + b"-1\r\nx\r\n0\r\n\r\n", 400),
        (CHUNKED_POST + b"0x1\r\nx\r\n0\r\n\r\n", 400),
        (CHUNKED_POST + b"ffffffffffffffffff\r\n", 400),
        # Lines and names.
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", 400),
        # Whose host.
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
        # Which path.
        (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        ("GET /ä HTTP/1.1\r\n".encode() + HOST + b"\r\n", 400),
        # Another protocol.
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Expect: miracles\r\n\r\n", 417),
        # llhttp drops the body of an upgrade: better no request than another one.
        (post(b"abc", "Connection: upgrade", "Upgrade: h2c"), 400),
    ],
)
def test_refused(data: bytes, status: int) -> None:
    assert refused(data) == status
    assert refused(*[data[at : at + 1] for at in range(len(data))]) == status


@pytest.mark.parametrize(
    ("reads", "status"),
    [
        ([get("/" + "a" * 2000)], 414),
        ([b"GET /", *[b"a" * 100] * 30], 414),
        ([get("/", "X: " + "a" * 5000)], 431),
        ([get("/", *[f"X: {'a' * 90}"] * 49)], 431),
        ([get("/", *["X:"] * 50)], 431),
        ([b"GET / HTTP/1.1\r\nX: ", *[b"a" * 1000] * 9], 431),  # a header without end
        ([b"GET / HTTP/1.1\r\n", b"X" * 1000, *[b"a" * 1000] * 9], 431),  # nor one in its name
        ([post(b"x" * 10_001)[:200]], 413),  # by its length, before it is sent
        ([CHUNKED_POST, b"2711\r\n" + b"x" * 10_001 + b"\r\n0\r\n\r\n"], 413),
        ([CHUNKED_POST, b"1;", *[b"e" * 1000] * 9], 400),  # an extension without end
        ([CHUNKED_POST, b"1\r\nx\r\n0\r\n", b"T: ", *[b"t" * 1000] * 9], 400),  # a trailer without end
        ([CHUNKED_POST, b"1\r\nx\r\n0\r\n", *[b"T: " + b"t" * 1000 + b"\r\n"] * 9], 400),  # trailers without end
    ],
)
def test_limits(reads: list[bytes], status: int) -> None:
    limits = Limits(target=1000, headers=4000, header_count=50, body=10_000)
    assert refused(*reads, limits=limits) == status


def test_within_limits() -> None:
    limits = Limits(target=1000, headers=4000, header_count=50, body=10_000)
    assert len(parse(get("/" + "a" * 990), limits=limits)) == 1
    assert len(parse(get("/", *[f"X: {'a' * 70}"] * 49), limits=limits)) == 1
    assert len(parse(post(b"x" * 10_000), limits=limits)) == 1
    one_byte_chunks = b"1\r\nx\r\n" * 9000
    assert (
        len(parse(CHUNKED_POST, one_byte_chunks[:20_000], one_byte_chunks[20_000:], b"0\r\n\r\n", limits=limits)) == 1
    )


def test_limits_are_of_each_request_not_of_the_read() -> None:
    limits = Limits(target=1000, headers=1000, body=10_000)
    many = get("/a", "X: " + "a" * 500) * 50
    assert len(parse(many[:-10], many[-10:], limits=limits)) == 50


def test_message_of_a_body_too_large() -> None:
    with pytest.raises(Refused) as caught:
        RequestParser(Limits()).feed(post(b"x" * (3 * 1024 * 1024 + 1))[:100])
    assert caught.value.status.message == "Request entity too large: limit is 3145728"
    assert caught.value.status.reason == "RequestEntityTooLarge"


def test_requests_before_the_fault_stand() -> None:
    parser = RequestParser(Limits())
    with pytest.raises(Refused):
        parser.feed(get("/a") + post(b"b") + b"nonsense\r\n\r\n")
    assert [parsed.request.target for parsed in parser.requests] == [b"/a", b"/"]


@pytest.mark.parametrize(
    ("data", "keep", "http10"),
    [
        (get(), True, False),
        (get("/", "Connection: close"), False, False),
        (b"GET / HTTP/1.0\r\n\r\n", False, True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, True),
        (get("/", "Connection: Upgrade", "Upgrade: websocket"), False, False),  # not offered: answered, then closed
        (get("/", "Upgrade: websocket"), True, False),
    ],
)
def test_connection_goes_on(data: bytes, keep: bool, http10: bool) -> None:
    parser = RequestParser(Limits())
    parser.feed(data)
    [parsed] = parser.requests
    assert (parsed.keep, parsed.http10) == (keep, http10)


def test_continue_is_wanted_until_the_body_comes() -> None:
    parser = RequestParser(Limits())
    data = post(b"abc", "Expect: 100-Continue")
    parser.feed(data[:-3])
    assert parser.wants_continue
    parser.feed(data[-3:-1])
    assert not parser.wants_continue
    parser.feed(data[-1:])
    assert parser.requests[0].request.body == b"abc"


def test_refused_rather_than_continued() -> None:
    assert refused(post(b"x" * 100, "Expect: 100-continue")[:100], limits=Limits(body=99)) == 413


EXAMPLES = (
    get("/one?x=1", "Accept: application/json", "Authorization: Bearer t"),
    post(b'{"kind":"ConfigMap"}', "Content-Type: application/json", path="/two"),
    CHUNKED_POST + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n",
    post(b"", path="/four", method="DELETE"),
)


@given(st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=4), st.data())
def test_wherever_reads_begin_and_end(examples: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(examples)
    whole = [parse(example)[0] for example in examples]
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    edges = [0, *cuts, len(stream)]
    assert parse(*[stream[a:b] for a, b in pairwise(edges) if b > a]) == whole


@given(st.binary(max_size=300), st.sampled_from(EXAMPLES), st.integers(0, 200))
def test_no_bytes_do_harm(noise: bytes, example: bytes, at: int) -> None:
    parser = RequestParser(Limits())
    with contextlib.suppress(Refused):
        parser.feed(example[:at] + noise + example[at:])
