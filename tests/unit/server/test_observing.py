"""What those who watch requests are told, and when."""

from __future__ import annotations

from proxy.kube.errors import StatusError
from proxy.server.messages import Exchange, Produce, Request
from proxy.server.replies import refusal
from tests.unit.server.conversation import CHUNKED, OK, Talk, answer, answers, chunk, forward, get, settle


class Watcher:
    def __init__(self, *, capture: bool = False) -> None:
        self.seen: list[tuple[str, int, int, bool]] = []
        self.requests: list[Request] = []
        self._capture = capture

    def _note(self, what: str, request: Request) -> None:
        record = request.record
        self.seen.append((what, record.status, record.sent, record.cut))

    def arrived(self, request: Request) -> None:
        self.requests.append(request)
        if self._capture:
            request.record.pieces = []
        self._note("arrived", request)

    def decided(self, request: Request) -> None:
        self._note("decided", request)

    def streaming(self, request: Request) -> None:
        self._note("streaming", request)

    def finished(self, request: Request) -> None:
        self._note("finished", request)

    def malformed(self, status: int) -> None:
        self.seen.append(("malformed", status, 0, False))


async def test_an_answer_made_here() -> None:
    watcher = Watcher()
    talk = Talk(observers=(watcher,))
    talk.says(get() + get())
    once = [("arrived", 0, 0, False), ("decided", 0, 0, False), ("finished", 200, len(OK.body), False)]
    assert watcher.seen == once * 2
    assert watcher.requests[0].record.body == OK.body


async def test_an_answer_of_a_shard() -> None:
    watcher = Watcher()
    talk = Talk(forward(), observers=(watcher,))
    talk.says(get())
    shard = await talk.shard()
    assert [what for what, *_ in watcher.seen] == ["arrived", "decided"]
    shard.says(answer(b"gone", status="404 Not Found"))
    assert watcher.seen[2:] == [("finished", 404, 4, False)]
    assert watcher.requests[0].record.shard_seconds > 0


async def test_a_watch_and_its_end() -> None:
    watcher = Watcher()
    talk = Talk(forward(streaming=True), observers=(watcher,))
    talk.says(get())
    shard = await talk.shard()
    shard.says(CHUNKED + chunk(b"event"))
    assert watcher.seen[2:] == [("streaming", 200, 0, False)]
    await talk.leaves()
    assert watcher.seen[3:] == [("finished", 200, 5, True)]


async def test_a_client_that_leaves_before_any_answer_is_told_once() -> None:
    watcher = Watcher()
    talk = Talk(forward(), observers=(watcher,))
    talk.says(get())
    shard = await talk.shard()
    await talk.leaves()
    assert watcher.seen[2:] == [("finished", 0, 0, True)]
    await shard.hangs_up()
    assert len(watcher.seen) == 3


async def test_a_large_answer_in_pieces() -> None:
    watcher = Watcher(capture=True)
    talk = Talk(forward(), observers=(watcher,))
    talk.says(get("/", "Accept-Encoding: gzip"))
    shard = await talk.shard()
    body = b"x" * 300_000
    whole = answer(body)
    shard.says(whole[:200_000])
    shard.says(whole[200_000:])
    [request] = watcher.requests
    assert b"".join(request.record.pieces or ()) == body
    assert watcher.seen[-1] == ("finished", 200, len(body), False)


async def test_a_refused_request_is_seen() -> None:
    watcher = Watcher()
    talk = Talk(observers=(watcher,))
    talk.says(b"GET / HTTP/1.1\r\n\r\n")
    assert [(what, status) for what, status, *_ in watcher.seen] == [("malformed", 400)]


async def test_one_audit_id_for_client_and_shard() -> None:
    talk = Talk(lambda request: forward(headers=[(b"audit-id", request.record.audit_id)]))
    talk.says(get("/", "Audit-ID: mine"))
    assert b"audit-id: mine\r\n" in (await talk.shard()).got

    async def put_together(exchange: Exchange) -> None:
        await exchange.start(200, [(b"audit-id", b"of a page")])
        await exchange.end()

    for decision in (OK, refusal(StatusError(404, "no")), Produce(put_together)):
        talk = Talk(decision)
        talk.says(get("/", "Audit-ID: mine"))
        await settle()
        [message] = answers(talk.heard())
        assert message.header(b"audit-id") == b"mine"


async def test_an_audit_id_that_is_none_is_not_taken() -> None:
    for value in ("two words", "x" * 65, ""):
        talk = Talk()
        talk.says(get("/", f"Audit-ID: {value}"))
        [message] = answers(talk.heard())
        assert message.header(b"audit-id") != value.encode()


class Broken:
    """A filter that does not understand everything."""

    def feed(self, data: bytes) -> bytes:
        if b"bad" in data:
            raise ValueError("cannot be rewritten")
        return data

    def flush(self) -> bytes:
        return b""


async def test_an_answer_that_cannot_be_rewritten_is_told() -> None:
    """In a whole answer, in a stream that has begun, in one that is encoded, and in one put together here."""
    said: list[tuple[bytes, tuple[str, ...], bool]] = [
        (b"bad", (), True),
        (b"bad", ("Content-Type: application/json",), True),
        (b"good", (), False),
        (b"packed", ("Content-Encoding: gzip",), True),
    ]
    for body, headers, unrewritten in said:
        watcher = Watcher()
        talk = Talk(forward(body_filter=Broken), observers=(watcher,))
        talk.says(get())
        (await talk.shard()).says(answer(body, *headers))
        await settle()
        [message] = answers(talk.heard())
        assert (message.status >= 500) == unrewritten
        assert watcher.requests[0].record.unrewritten == unrewritten

    watcher = Watcher()
    talk = Talk(forward(body_filter=Broken, streaming=True), observers=(watcher,))
    talk.says(get())
    shard = await talk.shard()
    shard.says(CHUNKED + chunk(b"good"))
    shard.says(chunk(b"bad"))
    await settle()
    assert talk.wire.aborted, "half an answer is not passed off as a whole one"
    assert watcher.requests[0].record.unrewritten

    async def put_together(exchange: Exchange) -> None:
        raise ValueError("cannot be split")

    watcher = Watcher()
    talk = Talk(Produce(put_together), observers=(watcher,))
    talk.says(get())
    await settle()
    assert watcher.requests[0].record.unrewritten
