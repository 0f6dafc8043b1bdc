"""What one request and one event cost does not grow with what others have: operations are counted, not seconds."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.mapping.token import new_token
from proxy.server.compose import Worker
from proxy.server.messages import Decision, Forward, Produce, Reply, Request
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.index import LOGICAL_CLUSTERS
from tests.integration.transport_front import SHARD, settings_before

RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
MANY = 1500
"""Workspaces of others."""
AT_ONCE = 16
NOISE = 1.02
"""Dictionaries and caches do a little more or less now and then."""
MAPS = "/api/v1/namespaces/default/configmaps"


class Operations:
    """Counts the instructions that Python executes, in a ``with`` block, for what is called in it."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Operations:
        sys.settrace(self._called)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Callable[[FrameType, str, Any], Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._executed

    def _executed(self, frame: FrameType, event: str, argument: Any) -> Callable[[FrameType, str, Any], Any]:
        if event == "opcode":
            self.count += 1
        return self._executed


@pytest.mark.parametrize(("size", "grows"), [(10, False), (1000, True)])
def test_loops_are_counted(size: int, grows: bool) -> None:
    with Operations() as operations:
        _sum(range(size))
    assert (operations.count > 1000) is grows


def _sum(numbers: Iterable[int]) -> int:
    total = 0
    for number in numbers:
        total += number
    return total


class Side:
    """A shard, and a worker before it in this process."""

    def __init__(self, client: Client, worker: Worker) -> None:
        self.client = client
        self.worker = worker
        self._numbers = itertools.count()

    async def workspace(self, path: str) -> str:
        """Its token."""
        token = new_token()
        spec = {"path": path, "type": "Universal", "owner": "alice"}
        obj: Object = {
            "apiVersion": LOGICAL_CLUSTERS.api_version, "kind": "LogicalCluster", "metadata": {"name": token},
            "spec": spec,
        }  # fmt: skip
        await self.client.apply(LOGICAL_CLUSTERS, obj, manager="test")
        await self.client.patch(LOGICAL_CLUSTERS, token, {"status": {"phase": "Ready"}}, subresource="status")
        return token

    async def allow(self, token: str, user: str, group: str, resource: str, verbs: list[str]) -> None:
        """In a workspace, to one of its users."""
        name = f"{token}-{user}-{next(self._numbers)}"
        rule = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
        await self.client.create(ROLES, {"metadata": {"name": name}, "rules": [rule]})
        subject = {"kind": "User", "apiGroup": RBAC, "name": f"{token}-{user}"}
        role = {"kind": "ClusterRole", "apiGroup": RBAC, "name": name}
        await self.client.create(BINDINGS, {"metadata": {"name": name}, "subjects": [subject], "roleRef": role})

    async def many(self, count: int) -> None:
        """Workspaces, each with somebody's rights."""
        numbers = iter(range(count))

        async def make() -> None:
            for number in numbers:
                token = await self.workspace(f"root:other-{number}")
                if not number % 10:
                    await self.allow(token, "guest", "", "secrets", ["get"])

        await asyncio.gather(*(make() for _ in range(AT_ONCE)))
        while len(self.worker.index) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def decided(self, user: str, target: str) -> tuple[int, Decision]:
        """How many operations, once all that is remembered is; and what was decided."""
        for _ in range(20):
            request = Request(b"GET", target.encode(), [(b"authorization", f"Bearer {user}-token".encode())])
            with Operations() as operations:
                decision = self.worker._server._gateway.decide(request)
            later = inspect.isawaitable(decision)
            decided: Decision = await decision if inspect.isawaitable(decision) else decision
            self.worker._admission.finished(request)  # as if it was answered
            if not later:
                return operations.count, decided
        raise AssertionError(f"{target}: the same is asked for again and again")

    def event(self) -> int:
        """Operations of everybody who hears that a workspace comes and goes."""
        token = new_token()
        obj = {
            "metadata": {"name": token, "resourceVersion": "1"},
            "spec": {"path": "root:comes-and-goes", "type": "Universal"},
            "status": {"phase": "Ready"},
        }
        informer = self.worker.index._informers[SHARD]
        assert informer._transform is not None
        with Operations() as operations:
            new = informer._transform(obj)
            self.worker.index._event("ADDED", None, new)
            self.worker.index._event("DELETED", new, new)
        return operations.count


@asynccontextmanager
async def sides(folder: Path) -> AsyncIterator[Side]:
    shard = ControlPlaneSettings(folder=folder / "shard", durable=False, controllers=())
    async with ControlPlane(shard) as plane, plane.client() as client:
        await bootstrap(client)
        tokens = folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text('boss-token,boss,1,"system:masters"\nguest-token,guest,2,"dev"\n')
        settings, _ = settings_before(plane, folder)
        worker = Worker(replace(settings, token_files=(str(tokens),)))
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        side = Side(client, worker)
        root = await side.workspace("root")
        await side.allow(root, "guest", "tenancy.kcp.dev", "clusterworkspaces/content", ["access"])
        mine = await side.workspace("root:mine")
        await side.allow(mine, "guest", "", "configmaps", ["get", "list", "watch"])
        await worker.index.wait_for("root:mine", 30)
        while worker.unready():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        try:
            yield side
        finally:
            stop.set()
            await running


async def test_nothing_grows_with_the_number_of_workspaces(tmp_path: Path) -> None:
    targets: dict[str, type] = {
        f"{MAPS}/one": Forward,
        MAPS: Forward,
        f"{MAPS}?watch=true": Forward,
        "/api/v1/configmaps": Produce,
        "/api/v1/configmaps?watch=true": Forward,
        "/apis": Reply,
        "/openapi/v3": Reply,
    }

    async def measured(side: Side) -> dict[str, int]:
        found = {"an event": min(side.event() for _ in range(3))}
        for user in ("boss", "guest"):
            for target, kind in targets.items():
                counts = []
                for _ in range(3):
                    count, decision = await side.decided(user, f"/clusters/root:mine{target}")
                    assert isinstance(decision, kind), (user, target, decision)
                    counts.append(count)
                found[f"{user} {target}"] = min(counts)
        return found

    async with asyncio.timeout(150), sides(tmp_path) as side:
        few = await measured(side)
        await side.many(MANY)
        many = await measured(side)
    assert len(few) == 1 + 2 * len(targets)
    grown = {what: (few[what], many[what]) for what in few if many[what] > few[what] * NOISE}
    assert not grown, grown
