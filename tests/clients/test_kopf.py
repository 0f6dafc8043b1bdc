"""An operator of kopf, in one namespace and in all: handlers, timers, finalizers, peering, restarts, late kinds."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson

from tests.clients import same
from tests.clients.side import Side, Sides
from tests.clients.tools import definition, tool
from tests.integration.eventually import eventually

OPERATOR = Path(__file__).with_name("kopf_operator.py")
KOPF = Path(sys.executable).with_name("kopf")
GROUP, LATE = "kopf.example.com", "late.kopf.example.com"


def _peering(kind: str, scope: str) -> dict[str, Any]:
    """The definition that kopf's documentation gives."""
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"status": status}}}
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.kopf.dev"},
        "spec": {
            "scope": scope,
            "group": "kopf.dev",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


class Operators:
    """Of one side."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def running(self, name: str, *options: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
        command: tuple[str | Path, ...] = (KOPF, "run", OPERATOR, "--verbose", *options)
        return self.side.running(*command, OPERATOR=name)

    async def logged(self, words: str) -> None:
        """Wait until one of them says so."""

        async def said() -> bool:
            return words in (self.side.folder / "kopf.log").read_text()

        await eventually(said, timeout=240, interval=0.2)

    async def apply(self, *objects: dict[str, Any]) -> None:
        documents = "\n---\n".join(orjson.dumps(item).decode() for item in objects)
        await self.side.kubectl("apply", "-f", "-", stdin=documents)

    async def late(self) -> None:
        """Wait for the late kind, and change its CRD once more: kopf looks at a group when a CRD of it changes, and one
        that has just become Established may not be in discovery by then, on a plain cluster in one of 40 cases."""
        crd = f"tools.{LATE}"
        await self.side.established(crd)
        await self.side.kubectl("get", crd, "--all-namespaces")
        await self.side.kubectl("annotate", "crd", crd, "example.com/in-discovery=true")

    async def resize(self, namespace: str, size: int) -> None:
        body = orjson.dumps({"spec": {"size": size}}).decode()
        await self.side.kubectl("patch", f"tools.{GROUP}", "saw", "-n", namespace, "--type=merge", "-p", body)

    async def box(self, namespace: str, **data: str) -> None:
        """Wait until the saw's box there says so, and the saw has been seen to."""

        async def made() -> bool:
            return [item["data"] for item in await self._boxes(namespace)] == [data]

        await eventually(made, timeout=240, interval=0.3)

    async def no_box(self, namespace: str) -> None:
        """Wait until the garbage collector has taken that of a saw which is gone."""

        async def gone() -> bool:
            return not await self._boxes(namespace)

        await eventually(gone, timeout=240, interval=0.3)

    async def _boxes(self, namespace: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.side.get("configmap", "-n", namespace, "-l", "box-of=saw"))["items"]
        return found

    async def saw(self, namespace: str, **status: object) -> dict[str, Any]:
        """With this status, without the annotations that say what kopf is about to do."""

        async def settled() -> Any:
            found = await self.side.get(f"tools.{GROUP}", "saw", "-n", namespace)
            noted = found["metadata"].get("annotations", {})
            busy = [key for key in noted if key.startswith("kopf.example.com/") and "last-handled" not in key]
            return found.get("status") == status and not busy and found

        found: dict[str, Any] = same.obj(await eventually(settled, timeout=240, interval=0.3))
        return found


def _in(namespace: str, item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "namespace": namespace}}


async def _prepare(us: Operators) -> None:
    peerings = (_peering("KopfPeering", "Namespaced"), _peering("ClusterKopfPeering", "Cluster"))
    await us.apply(definition(GROUP), *peerings)
    names = (f"tools.{GROUP}", *(peering["metadata"]["name"] for peering in peerings))
    await us.side.established(*names)
    for namespace in ("kopf-a", "kopf-b"):
        await us.side.kubectl("create", "namespace", namespace)
        await us.apply(_in(namespace, tool(GROUP, "saw")))
    await us.apply(_in("kopf-a", {"apiVersion": "kopf.dev/v1", "kind": "KopfPeering", "metadata": {"name": "one"}}))
    await us.apply({"apiVersion": "kopf.dev/v1", "kind": "ClusterKopfPeering", "metadata": {"name": "all"}})


async def _in_one_namespace(us: Operators) -> list[Any]:
    """The first works, pauses while one of more priority is there, and goes on afterwards."""
    options = ("--namespace=kopf-a", "--peering=one")
    results: list[Any] = []
    async with us.running("first", *options, "--priority=1"):
        await us.box("kopf-a", size="1", by="first")
        results.append(await us.saw("kopf-a", phase="Inspected"))
        await us.resize("kopf-a", 2)
        await us.box("kopf-a", size="2", was="1", by="first")
        async with us.running("second", *options, "--priority=5"):
            await us.logged("Pausing operations in favour of")
            await us.resize("kopf-a", 3)
            await us.box("kopf-a", size="3", was="2", by="second")
            results.append(await us.saw("kopf-a", phase="Inspected", size=3))
        await us.resize("kopf-a", 4)
        await us.box("kopf-a", size="4", was="3", by="first")
        results.append(await us.saw("kopf-a", phase="Inspected", size=4))
    results.append(same.obj(await us.side.get("kopfpeering", "one", "-n", "kopf-a")))
    return [*results, await us.side.get("configmaps", "-n", "kopf-b", "-l", "box-of")]


async def _in_all_namespaces(us: Operators) -> list[Any]:
    """What happened meanwhile is made up for; a kind that comes later is found."""
    results: list[Any] = []
    async with us.running("third", "--all-namespaces", "--peering=all"):
        await us.box("kopf-a", size="5", was="4", by="third")
        await us.box("kopf-b", size="1", by="third")
        results += [await us.saw("kopf-a", phase="Inspected", size=5), await us.saw("kopf-b", phase="Inspected")]
        await us.apply(definition(LATE))
        await us.late()
        await us.side.kubectl("create", "namespace", "kopf-c")
        await us.apply(_in("kopf-c", tool(LATE, "saw", size=7)))
        await us.box("kopf-c", size="7", by="third")
        await us.side.kubectl("delete", f"tools.{GROUP}", "saw", "-n", "kopf-a", "--timeout=100s")
        results.append(same.obj(await us.side.get("configmap", "farewell-saw", "-n", "kopf-a")))
        await us.no_box("kopf-a")
    results.append(same.obj(await us.side.get("clusterkopfpeering", "all")))
    return results


async def _play(side: Side) -> list[Any]:
    us = Operators(side)
    await _prepare(us)
    results = await _in_one_namespace(us)
    await us.resize("kopf-a", 5)
    results += await _in_all_namespaces(us)
    for namespace in ("kopf-a", "kopf-b", "kopf-c"):
        events = (await side.get("events", "-n", namespace))["items"]
        results.append(sorted({(event["reason"], event["type"], event["message"]) for event in events}))
        results.append(same.obj(await side.get("configmaps", "-n", namespace, "-l", "box-of")))
    return results


async def test_operator_of_kopf(sides: Sides) -> None:
    await sides.same(_play)
