"""An operator of controller-runtime: informers, leader election, owner references, status, finalizers, events."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.clients import same
from tests.clients.programs import program
from tests.clients.side import Side, Sides
from tests.integration.eventually import eventually

MEMBERS: dict[str, Any] = {"type": "object", "properties": {"members": {"type": "integer"}}}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "squads.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "squads", "kind": "Squad"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": MEMBERS, "status": MEMBERS}}},
            }
        ],
    },
}


def squad(members: int) -> str:
    body = {"apiVersion": "example.com/v1", "kind": "Squad", "metadata": {"name": "red", "namespace": "teams"}}
    return orjson.dumps({**body, "spec": {"members": members}}).decode()


async def _has(side: Side, members: int) -> bool:
    found = await side.get("configmaps", "-n", "teams", "-l", "squad=red")
    status = (await side.get("squad", "red", "-n", "teams")).get("status", {})
    return len(found["items"]) == members and status == {"members": members}


async def _leader(side: Side) -> str:
    lease = await side.get("lease", "squads.example.com", "-n", "default")
    return str(lease["spec"].get("holderIdentity", ""))


async def _objects(side: Side) -> list[Any]:
    """Of the namespace, without what varies; events without the order they came in."""
    listed = await side.get("squads,configmaps", "-n", "teams")
    events = await side.get("events.events.k8s.io", "-n", "teams")
    notes = sorted((event["reason"], event["regarding"]["name"], event["note"]) for event in events["items"])
    return [same.obj(listed), notes]


async def _play(side: Side) -> list[Any]:
    operator = program("operator")
    await side.kubectl("apply", "-f", "-", stdin=orjson.dumps(CRD).decode())
    await side.established("squads.example.com")
    await side.kubectl("create", "namespace", "teams")
    results = []
    async with side.running(operator):
        await side.kubectl("apply", "-f", "-", stdin=squad(3))
        await eventually(lambda: _has(side, 3), timeout=40, interval=0.3)
        results.append(await _objects(side))
        first = await _leader(side)
        async with side.running(operator) as standby:
            await asyncio.sleep(2)
            assert await _leader(side) == first
            await side.kubectl("delete", "configmap", "red-2", "-n", "teams")
            await eventually(lambda: _has(side, 3), timeout=60, interval=0.3)
            assert standby.returncode is None
    assert await _leader(side) == ""
    async with side.running(operator):
        await side.kubectl("apply", "-f", "-", stdin=squad(1))
        await eventually(lambda: _has(side, 1), timeout=40, interval=0.3)
        results.append(await _objects(side))
        assert await _leader(side) != first
        await side.kubectl("delete", "squad", "red", "-n", "teams", "--timeout=30s", "--cascade=foreground")
        await side.kubectl("wait", "--for=delete", "configmap/red-0", "-n", "teams", "--timeout=30s")
    return [*results, (await side.kubectl("get", "configmaps,squads", "-n", "teams", "-o", "name")).split()]


async def test_operator_of_controller_runtime(sides: Sides) -> None:
    program("operator")
    [*_, left] = await sides.same(_play)
    assert left == ["configmap/farewell-red", "configmap/kube-root-ca.crt"]
