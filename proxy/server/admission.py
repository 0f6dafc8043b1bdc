"""Whether a request may go on now, has to wait, or is one too many: limits and fair queuing of workspaces.

It is asked once it is known who asks and that they may enter the workspace, before anything of the request's body is
looked at. What a request takes is its `Slot`, given back when it is answered or its client has gone. Administrators of
the whole kcp (system:masters) are exempt, as they are from a kube-apiserver's flow control; those of a workspace are
not. Few small requests that keep others alive (leases, heartbeats of syncers) have a queue of their own, so that a
workspace which floods itself does not lose its clusters.
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from proxy.kube.errors import StatusError
from proxy.limits.account import BLOCK, Account, answer_cost
from proxy.limits.fair import FairQueue, Waiter
from proxy.limits.file import LimitsFile
from proxy.limits.values import LimitSettings, WorkspaceLimits
from proxy.mapping.paths import RequestInfo
from proxy.mapping.request import READ_ONLY
from proxy.server.messages import Record, Request
from proxy.server.reach import reached

WAITS = 15.0
"""Seconds that a request may wait: a kube-apiserver's (a quarter of ``--request-timeout``)."""
WATCH_BEGINS = 0.1
"""Seconds for which a watch that has begun keeps its seats: its first events, all that is there often, come then."""
FILE_EVERY = 1.0
"""Seconds between looks at the file."""
LOOKS = 10
"""Of these, until accounts are forgotten of which nothing needs to be known any more."""
VITAL_MARK = " vital"
VITAL = frozenset({("coordination.k8s.io", "leases", ""), ("workload.kcp.dev", "workloadclusters", "status")})
VITAL_LIMITS = WorkspaceLimits(requests_in_flight=16, queued_requests=64, request_megabytes=1)
"""Of each worker."""
FULL, LATE, RATE, WATCHES, STREAMS, RECEIVED, UNREAD, OBJECTS = REASONS = (
    "queue-full", "time-out", "rate", "watches", "streams", "received-bytes", "unread-bytes", "objects"
)  # fmt: skip
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0)
"""Seconds."""
REST, LONGEST_REST = 1.0, 5.0
"""Seconds for which nothing more is read from a connection on which a request was refused: Retry-After for those who
take no notice of it. With a large body, which was read for nothing, it is longer."""
MOST_SECONDS = 30
"""Of Retry-After."""
LARGE = 256 * 1024
"""Bytes of a body for each `REST`."""

HELD = 256 * 1024
"""Bytes that an answer counts at least whose client does not read: what the shard sends lies there too."""
NOTHING, WATCH, STREAM = 0, 1, 2


class Slot:
    """What one request has of its workspace's limits."""

    __slots__ = (
        "_account", "_began", "_cost_of", "_endless", "_queue", "_received", "_turn", "_unread", "_waiter", "width",
    )  # fmt: skip

    def __init__(self, account: Account, queue: FairQueue, cost_of: str, received: int, endless: int) -> None:
        """``cost_of``: the kind of request of which is learnt what it costs; ``received``: bytes of its body."""
        self._account = account
        self._queue = queue
        self._cost_of = cost_of
        self._received = received
        self._endless = endless
        self._unread = 0
        self._began = 0.0
        self._waiter: Waiter | None = None
        self._turn: asyncio.Future[None] | None = None
        self.width = 0
        """Seats that it has taken."""
        if received:
            account.received += received
        if endless == WATCH:
            account.watches += 1
        elif endless == STREAM:
            account.streams += 1

    def wait(self, width: int, cost: float) -> asyncio.Future[None] | None:
        """Get into the queue; None if it is full."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turn = turn
        waiter = self._queue.wait(self._account, width, cost, partial(self._start, width))
        if waiter is None:
            return None
        if not turn.done():
            self._waiter = waiter
        return turn

    def take(self, width: int) -> None:
        """It has got so many seats."""
        self.width = width
        if width > 1:
            self._began = asyncio.get_running_loop().time()

    def _give(self, record: Record | None = None) -> None:
        """Back, and rest if it was wide: by ``record``, where that tells more than what was expected."""
        width, account = self.width, self._account
        if width <= 1:
            self.free()
            return
        self.width = 0
        loop = asyncio.get_running_loop()
        was = width
        if record is not None and self._cost_of:
            was = min(width, account.width(answer_cost(record.sent, record.shard_seconds)))
        rest = self._queue.rest(account, was, loop.time() - self._began)
        self._queue.give(account, width, rests=rest > 0)
        if rest:
            loop.call_later(rest, self._queue.rested, account, width)

    def _start(self, width: int) -> None:
        self.take(width)
        self._waiter = None
        if self._turn is not None and not self._turn.done():  # else its client has just gone: `over` comes next
            self._turn.set_result(None)

    def leave(self) -> None:
        """It waits no longer."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self._queue.leave(waiter)

    def free(self) -> None:
        """The shard has had nothing to do."""
        width, self.width = self.width, 0
        if width:
            self._queue.give(self._account, width)

    def begun(self, record: Record) -> None:
        """A watch has sent what was there, and told by it what it costs to begin one."""
        if self.width:
            self._account.learn(self._cost_of, record.sent, record.shard_seconds)
            self._give(record)

    def stalled(self, size: int) -> None:
        """``size`` bytes of the answer are left unread by the client. Who reads slowly does not keep a seat."""
        self._give()
        size = max(size, HELD)
        self._account.unread += size - self._unread
        self._unread = size

    def resumed(self) -> None:
        """The client, who may have gone, leaves nothing unread any more."""
        self._account.unread -= self._unread
        self._unread = 0

    def over(self, record: Record) -> None:
        """The answer is written, or the client has gone."""
        account = self._account
        if self.width:
            self._give(record)
        elif self._waiter is not None:
            self.leave()
        if self._received:
            account.received -= self._received
        if self._endless == WATCH:
            account.watches -= 1
        elif self._endless == STREAM:
            account.streams -= 1
        elif self._cost_of and record.sent:
            account.learn(self._cost_of, record.sent, record.shard_seconds)


class Admission:
    """Of one worker. It is an `Observer` of requests.

    Raises LimitsFileError for a file that cannot be read.
    """

    def __init__(
        self, shards: Iterable[str], settings: LimitSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        workers = settings.workers
        self._clock = clock
        self._workers = workers
        self._limits = settings.workspace
        self._file = LimitsFile(Path(settings.file)) if settings.file else None
        self.version = 0
        """Of what the file says."""
        self.queues = {shard: FairQueue(-(-settings.shard_requests // workers)) for shard in shards}
        self._accounts: dict[str, dict[str, Account]] = {shard: {} for shard in self.queues}
        self.rejected = dict.fromkeys(REASONS, 0)
        self.queued = 0
        """Requests that had to wait."""
        self.waits = [0.0] * (len(BOUNDS) + 2)
        """How long: counts by `BOUNDS`, and the sum of seconds."""

    def enter(self, request: Request) -> Awaitable[None] | None:
        """None if ``request`` may go on, else to be awaited first; what was decided meanwhile is to be decided anew.

        Its record tells workspace, shard, user and what is asked for. Raises StatusError 429.
        """
        record = request.record
        user, info = record.user, record.info
        if request.slot is not None or user is None or user.masters or info is None:
            return None
        queue = self.queues[record.shard]
        vital = (info.group, info.resource, info.subresource) in VITAL and bool(info.name)
        account = self._account(record.shard, record.workspace, vital)
        self._check(account, request)
        received = len(request.body)
        endless = self._endless(account, info, request)
        cost_of, cost = "", 1.0
        if info.verb not in READ_ONLY:
            cost = 2.0 + received / BLOCK
        elif info.verb != "get" or not info.is_resource:
            cost_of = f"{info.verb} {info.resource}"
            cost = account.expected(cost_of)
        slot = request.slot = Slot(account, queue, cost_of, received, endless)
        if endless == STREAM:
            return None
        if not vital:
            queue.asks(account, self._clock())
        width = account.width(cost) if cost > 1.0 else 1
        if queue.take(account, width):
            slot.take(width)
            return None
        turn = slot.wait(width, cost)
        if turn is None:
            raise self._too_many(request, FULL, "too many requests are waiting")
        self.queued += 1
        return _Later(partial(self._wait, request, slot, turn))

    def leave(self, request: Request) -> None:
        """It gives back what it has, and enters anew later."""
        slot, request.slot = request.slot, None
        if slot is not None:
            slot.over(request.record)

    def _account(self, shard: str, workspace: str, vital: bool) -> Account:
        accounts = self._accounts[shard]
        name = workspace + VITAL_MARK if vital else workspace
        account = accounts.get(name)
        if account is None:
            account = accounts[name] = Account(
                VITAL_LIMITS if vital else self.limits_of(workspace).of_each(self._workers)
            )
        account.used = True
        return account

    def limits_of(self, workspace: str) -> WorkspaceLimits:
        """Of all workers together."""
        return self._limits if self._file is None else self._file.of(workspace, self._limits)

    def _check(self, account: Account, request: Request) -> None:
        if account.unread and account.too_much_unread():
            raise self._too_many(request, UNREAD, "too much of earlier answers is left unread by clients")
        if request.body and account.too_much_received(len(request.body)):
            raise self._too_many(request, RECEIVED, "the requests under way are too large together")
        if account.limits.requests_per_second:
            early = account.early(self._clock())
            if early:
                raise self._too_many(request, RATE, "too many requests in a second", early)

    def _endless(self, account: Account, info: RequestInfo, request: Request) -> int:
        limits = account.limits
        if info.verb == "watch":
            if limits.watches and account.watches >= limits.watches:
                raise self._too_many(request, WATCHES, "too many watches are open", 5)
            return WATCH
        if info.subresource and reached(info):
            if limits.streams and account.streams >= limits.streams:
                raise self._too_many(request, STREAMS, "too many connections to pods are open", 5)
            return STREAM
        return NOTHING

    def _too_many(self, request: Request, reason: str, what: str, seconds: float = 1.0) -> StatusError:
        """In the form of a kube-apiserver's, which says no more than the first words."""
        self.rejected[reason] += 1
        rest = request.rest = min(max(REST, REST * len(request.body) / LARGE), LONGEST_REST)
        wait = min(math.ceil(max(seconds, rest)), MOST_SECONDS)
        message = f"Too many requests, please try again later: {what} in workspace {request.record.workspace}"
        return StatusError(429, message, details={"retryAfterSeconds": wait})

    async def _wait(self, request: Request, slot: Slot, turn: asyncio.Future[None]) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(WAITS):
                await turn
        except TimeoutError as error:
            slot.leave()
            raise self._too_many(request, LATE, "this one has waited too long") from error
        finally:
            seconds = self._clock() - began
            self.waits[bisect_left(BOUNDS, seconds)] += 1
            self.waits[-1] += seconds

    # Observer

    def arrived(self, request: Request) -> None:
        pass

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        slot = request.slot
        if slot is not None:
            asyncio.get_running_loop().call_later(WATCH_BEGINS, slot.begun, request.record)

    def finished(self, request: Request) -> None:
        slot = request.slot
        if slot is not None:
            slot.over(request.record)

    def malformed(self, status: int) -> None:
        pass

    async def run(self) -> None:
        """Follow the file, and forget workspaces that ask for nothing."""
        while True:
            for _ in range(LOOKS):
                await asyncio.sleep(FILE_EVERY)
                self.refresh()
            self.forget()

    def refresh(self) -> None:
        """Go by what the file says now."""
        if self._file is None or not self._file.refresh():
            return
        self.version += 1
        for accounts in self._accounts.values():
            for name, account in accounts.items():
                if not name.endswith(VITAL_MARK):
                    account.limits = self.limits_of(name).of_each(self._workers)

    def forget(self) -> None:
        for accounts in self._accounts.values():
            for name in [name for name, account in accounts.items() if account.idle and not account.used]:
                del accounts[name]
            for account in accounts.values():
                account.used = False


class _Later:
    """An awaitable that is nothing before it is awaited: a client may go before."""

    __slots__ = ("_run",)

    def __init__(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._run = run

    def __await__(self) -> Generator[Any, None, None]:
        return self._run().__await__()
