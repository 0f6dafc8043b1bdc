"""What is over is freed at once: a worker hardly ever looks for circles of references."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from proxy.kube.errors import StatusError
from proxy.server.messages import Exchange, Forward, Produce
from tests.unit.mapping.support import P
from tests.unit.server.conversation import Talk, answer, forward, get, settle
from tests.unit.server.test_gate_on_the_way import decide, mapped


def forget(talk: Talk) -> None:
    """As an event loop does: a transport that is closed does not know its protocol any more."""
    for wire in (talk.wire, *(shard.wire for shard in talk.pool.opened)):
        del wire.protocol
    talk.pool.opened.clear()
    talk.requests.clear()
    del talk.front


@contextmanager
def freed(*, ours: str = "proxy.") -> Iterator[None]:
    """Fails where garbage of our own types is left that only a collection finds."""
    gc.disable()
    gc.freeze()  # what others have left is none of ours
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        left = Counter(type(found).__qualname__ for found in gc.garbage if type(found).__module__.startswith(ours))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()
    assert not left


async def _fetch(exchange: Exchange) -> None:
    await exchange.fetch(forward())
    await exchange.start(200, [])
    await exchange.end()


async def answered(talk: Talk) -> None:
    (await talk.shard()).says(answer(b"{}"))
    await settle()
    await talk.leaves()


async def left(talk: Talk) -> None:
    await talk.shard()
    await talk.leaves()


async def broken(talk: Talk) -> None:
    await (await talk.shard()).hangs_up()
    await settle()
    await talk.leaves()


async def unreachable(talk: Talk) -> None:
    talk.pool.reachable = False
    await settle()
    await talk.leaves()


@pytest.mark.parametrize("ending", [answered, left, broken, unreachable])
@pytest.mark.parametrize("decision", [lambda: Produce(_fetch), forward], ids=["produce", "forward"])
async def test_requests(decision: Callable[[], Produce | Forward], ending: Callable[[Talk], Awaitable[None]]) -> None:
    with freed():
        talk = Talk(decision())
        talk.says(get())
        await ending(talk)
        forget(talk)


async def test_a_decision_that_takes_its_time() -> None:
    async def later() -> Produce:
        await asyncio.Event().wait()
        raise StatusError(500, "not reached")

    with freed():
        talk = Talk(lambda request: later())
        talk.says(get())
        await settle()
        await talk.leaves()
        forget(talk)


def test_a_watch_that_may_be_shared() -> None:
    with freed():
        decision = decide("GET", mapped(f"/api/v1/namespaces/{P}default/configmaps?watch=true"))
        assert isinstance(decision, Forward)
        assert decision.share is not None
        again = decision.share.ask(f"/api/v1/namespaces/{P}default/configmaps?watch=true&resourceVersion=7".encode())
        assert again.share is None
        assert again.headers == decision.headers
        del decision, again
