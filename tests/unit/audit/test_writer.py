"""The queue in front of the audit log: nothing lost while it waits, bounded, and counted."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence

from proxy.audit.event import Moment
from proxy.audit.policy import COMPLETE, Level, Verdict
from proxy.audit.writer import Writer
from proxy.mapping.paths import RequestInfo
from proxy.server.messages import Record, Request


def moment(number: int, body: bytes = b"") -> Moment:
    request = Request(b"GET", b"/", [], body, record=Record(audit_id=b"%d" % number, status=200))
    return Moment(request, RequestInfo("get", path="/"), COMPLETE, Verdict(Level.METADATA, frozenset(), True), 0.0, 0.0)


class Sink:
    def __init__(self) -> None:
        self.ids: list[int] = []
        self.batches = 0
        self.failures = 0
        self.open = threading.Event()
        self.open.set()

    def write(self, lines: Sequence[bytes]) -> None:
        self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.batches += 1
        self.ids += [int(json.loads(line)["auditID"]) for line in lines]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_in_order_and_in_batches() -> None:
    sink = Sink()
    writer = Writer("test", sink)
    for number in range(2500):
        writer.put(moment(number))
    until(lambda: writer.written == 2500)
    assert sink.ids == list(range(2500))
    assert sink.batches < 100
    writer.close()


def test_what_cannot_be_written_is_tried_again() -> None:
    sink = Sink()
    sink.failures = 1
    writer = Writer("test", sink)
    for number in range(3):
        writer.put(moment(number))
    until(lambda: writer.written == 3)
    assert sink.ids == [0, 1, 2]
    assert writer.dropped == 0
    writer.close()


def test_beyond_the_bound_new_ones_are_dropped_and_it_goes_on() -> None:
    sink = Sink()
    sink.open.clear()
    writer = Writer("test", sink, queued=100_000)
    for number in range(100):
        writer.put(moment(number, b"x" * 10_000))
    assert 90 <= writer.dropped <= 95
    kept = 100 - writer.dropped
    sink.open.set()
    until(lambda: writer.written == kept)
    assert sink.ids == list(range(kept))
    writer.put(moment(1000))
    until(lambda: 1000 in sink.ids)
    writer.close()


def test_the_end_waits_for_what_is_queued() -> None:
    sink = Sink()
    writer = Writer("test", sink)
    for number in range(500):
        writer.put(moment(number))
    writer.close()
    assert sink.ids == list(range(500))


def test_an_event_that_cannot_be_made_holds_up_nothing() -> None:
    sink = Sink()
    writer = Writer("test", sink)
    writer.put(moment(1)._replace(info=None))  # type: ignore[arg-type]
    writer.put(moment(2))
    until(lambda: sink.ids == [2])
    writer.close()
