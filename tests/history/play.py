"""One run: clients, faults, and the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from tests.bench.system import USER_TOKEN, grant
from tests.faults.clock import set_clock, why_not
from tests.history.checker import check, ended, truth_of
from tests.history.clients import Clients
from tests.history.record import Outcome
from tests.history.recovery import Recovery, recovery, table
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
ACCOUNTS = Resource("", "v1", "serviceaccounts")
WORKSPACES = ("root:default:one", "root:default:two")
SPACES = ("red", "blue")
WRITERS, LISTERS = 6, 2
WATCHERS = 3
"""Of each scope; the first without bookmarks."""
CALM = 2.0
"""Seconds between a fault that is over and the next one."""
SHORT = 1.0
"""The same, where a clock was set: what asks every second or so has asked."""
JUMPS = {"is an hour ahead": 3600, "is a day ahead": 86400, "is an hour behind": -3600}
"""Seconds by which the wall clock of a process is wrong. The certificates of a new kcp begin an hour before it."""
YEARS = 3 * 366 * 86400
EXPIRED = 3.0
"""Seconds."""
PATIENCE = 120.0
"""Seconds until writes are taken again, and until every watcher knows all."""

Fault = tuple[str, Callable[[], Awaitable[float]], float]
"""What is done, how (the answer is when), and seconds until the next one."""


class Play:
    """``say`` gets a line for each fault and, at the end, the table of recoveries."""

    def __init__(self, folder: Path, *, seed: int, say: Callable[[str], object]) -> None:
        self._folder = folder
        self._say = say
        tokens = folder / "users.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{USER_TOKEN},bench,1,dev\n")
        self.kcp = Kcp(folder / ".kcp", "--workers", "2", "--token-auth-file", str(tokens))
        self._seed = seed
        self._made = 0
        self._jumps = itertools.cycle(JUMPS)
        self._wrong: list[int] = []
        """Processes whose clocks are wrong."""
        self._faults: list[tuple[str, float, float]] = []

    async def run(self, seconds: float) -> list[str]:
        """All faults once, and again until so much time is over; what is wrong."""
        async with self.kcp:
            clients = await self._prepare()
            history = clients.history
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(clients.write()) for _ in range(WRITERS)]
                others += [group.create_task(clients.look()) for _ in range(LISTERS)]
                watching = [
                    group.create_task(clients.watch(scope, bookmarks=number > 0))
                    for scope in clients.scopes()
                    for number in range(WATCHERS)
                ]
                try:
                    await self._all_faults(clients, seconds)
                    clients.writing = False
                    await asyncio.gather(*others)
                    await self._caught_up(clients)
                    await clients.list_all()
                    await self._caught_up(clients)
                finally:
                    clients.writing = False
                    for task in watching:
                        task.cancel()
        outcomes = {each.value: sum(write.outcome is each for write in history.writes) for each in Outcome}
        events = sum(len(run.events) for watcher in history.watchers for run in watcher)
        runs = sum(map(len, history.watchers))
        self._say(
            f"writes: {outcomes}; {len(history.reads)} reads, {len(history.listings)} lists, "
            f"{len(history.watchers)} watchers with {runs} lists and {events} events"
        )
        for line in table(self.recoveries(clients)):
            self._say(line)
        return check(history)

    def recoveries(self, clients: Clients) -> list[Recovery]:
        return [recovery(clients.history, *fault) for fault in self._faults]

    async def _prepare(self) -> Clients:
        async with self.kcp.client("root:default") as parent:
            for path in WORKSPACES:
                await self.kcp.make_workspace("root:default", path.rpartition(":")[2])
            await grant(parent, "tenancy.kcp.dev", "clusterworkspaces/content", "admin")
        for path in WORKSPACES:
            async with self.kcp.client(path) as client:
                authority = client.connection.ca_data or b""
                for name in SPACES:
                    await _make_namespace(client, name)
        tls = ssl.create_default_context(cadata=authority.decode())
        url = f"https://127.0.0.1:{self.kcp.port}"
        return Clients(url, USER_TOKEN, tls, dict.fromkeys(WORKSPACES, SPACES), self._seed)

    # faults

    async def _all_faults(self, clients: Clients, seconds: float) -> None:
        until = time.monotonic() + seconds
        reason = why_not()
        if reason is not None:
            self._say(f"no clock is set: {reason}")
        await asyncio.sleep(CALM)
        while True:
            for name, fault, calm in itertools.chain(self._kills(), self._clocks() if reason is None else ()):
                began = await fault()
                await self._recovered(clients, began)
                await asyncio.sleep(calm)
                self._faults.append((name, began, time.monotonic()))
                self._say(f"{name}: took {self._faults[-1][2] - began:.1f} s from {began:.2f} s on")
            if time.monotonic() > until:
                return

    def _kills(self) -> Iterator[Fault]:
        yield "kill -9 of one worker", lambda: self._kill("proxy.server.worker", 1), CALM
        yield "kill -9 of all workers", lambda: self._kill("proxy.server.worker"), CALM
        yield "kill -9 of kube-apiserver", lambda: self._kill("kube-apiserver"), CALM
        yield "kill -9 of etcd", lambda: self._kill("etcd"), CALM
        yield "kill -9 of kube-controller-manager", self._controllers, CALM
        yield "kill -9 of all of them", lambda: self._kill(""), CALM
        yield "kill -9 of kcp itself, and a new start", self._parent, CALM

    def _clocks(self) -> Iterator[Fault]:
        """The wall clock of one process jumps and is set right again, then those of all do."""
        parts = {
            "one worker": lambda: self._found("proxy.server.worker")[:1],
            "all workers": lambda: self._found("proxy.server.worker"),
            "kcp's controllers": lambda: [self.kcp.pid],
            "kube-apiserver": lambda: self._found("kube-apiserver"),
            "etcd": lambda: self._found("etcd"),
            "kube-controller-manager": lambda: self._found("kube-controller-manager"),
        }
        for name, pids in parts.items():
            jump = next(self._jumps)
            yield f"clock of {name} {jump}", partial(self._set_clocks, pids, JUMPS[jump]), SHORT
            yield f"clock of {name} is right again", self._set_right, SHORT
        for jump, ahead in JUMPS.items():
            yield f"clock of all {jump}", partial(self._set_clocks, self._all, ahead), SHORT
            yield "clock of all is right again", self._set_right, SHORT
        yield f"clock of all is three years ahead for {EXPIRED:.0f} s", self._expire, SHORT

    async def _kill(self, program: str, count: int = 99) -> float:
        """When that was."""
        for pid in self._found(program)[:count]:
            os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    def _found(self, program: str) -> list[int]:
        found = [pid for pid, line in children(self.kcp.pid).items() if _is(program, line)]
        assert found, program
        return found

    def _all(self) -> list[int]:
        return [self.kcp.pid, *self._found("")]

    async def _set_clocks(self, pids: Callable[[], list[int]], ahead: int) -> float:
        """A namespace that is made with wrong clocks gets what controllers give it."""
        self._wrong = pids()
        for pid in self._wrong:
            set_clock(pid, ahead)
        began = time.monotonic()
        await self._namespace_is_complete()
        return began

    async def _expire(self) -> float:
        """No certificate between parts is good any more: what asks by a new connection has to wait."""
        self._wrong = self._all()
        for pid in self._wrong:
            set_clock(pid, YEARS)
        await asyncio.sleep(EXPIRED)
        return await self._set_right()

    async def _set_right(self) -> float:
        gone = set(self._wrong).difference(self._all())
        assert not gone, "a process has ended because of its clock"
        for pid in self._wrong:
            set_clock(pid, 0)
        began = time.monotonic()
        await self._namespace_is_complete()
        return began

    async def _controllers(self) -> float:
        """A namespace made meanwhile gets what controllers give it."""
        began = await self._kill("kube-controller-manager")
        await self._namespace_is_complete()
        self._say(f"a namespace was given its service account {time.monotonic() - began:.1f} s later")
        return began

    async def _namespace_is_complete(self) -> None:
        async with self.kcp.client(WORKSPACES[0]) as client:
            self._made += 1
            name = f"later-{self._made}"
            await _make_namespace(client, name)
            await eventually(lambda: client.get(ACCOUNTS, "default", name), StatusError, timeout=PATIENCE)

    async def _parent(self) -> float:
        await self.kcp.kill()
        began = time.monotonic()
        await self.kcp.again()
        return began

    async def _recovered(self, clients: Clients, moment: float) -> None:
        """Wait until writes of both workspaces are taken, and every watcher has been told of something new."""

        async def again() -> bool:
            return all(
                any(write.key.workspace == path and write.began > moment and write.outcome is Outcome.ACKNOWLEDGED
                    for write in clients.history.writes)
                for path in WORKSPACES
            ) and recovery(clients.history, "", moment, time.monotonic()).watched is not None  # fmt: skip

        await eventually(again, timeout=PATIENCE)

    async def _caught_up(self, clients: Clients) -> None:
        """Whoever is not is found by the checker."""

        async def all_know() -> bool:
            truth = truth_of(clients.history)
            return all(ended(watcher, truth) for watcher in clients.history.watchers)

        with contextlib.suppress(AssertionError):
            await eventually(all_know, timeout=PATIENCE)


def _is(program: str, line: str) -> bool:
    name = line.split()[0].rpartition("/")[2] if line.split() else ""
    return not program or program == name or program in line.split()


async def _make_namespace(client: Client, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}

    async def made() -> bool:
        try:
            await client.create(NAMESPACES, body)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        return True

    await eventually(made, StatusError, timeout=PATIENCE)
