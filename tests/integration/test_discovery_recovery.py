"""Discovery through the life of a shard: before it is prepared, while it is down, after it came back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import orjson

from proxy.discovery.shard import CRDS
from proxy.kube.client import Client
from proxy.server.messages import Reply, Request
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration.discovery_front import Front, Place
from tests.integration.test_discovery import crd, until

PLACE = Place("kdiscover")


def names(front: Front) -> set[str]:
    return {resource for _, _, resource in front.discovery.view(PLACE).shown}


def answer(front: Front, path: str) -> bytes:
    reply = front.discovery.reply(PLACE, Request(b"GET", path.encode(), []), path, "")
    assert isinstance(reply, Reply), "answered from memory"
    assert reply.status == 200
    return reply.body


async def test_life_of_a_shard(tmp_path: Path) -> None:
    settings = ControlPlaneSettings(folder=tmp_path, durable=False, controllers=())
    async with ControlPlane(settings) as plane, plane.client() as client:
        preparing = asyncio.create_task(bootstrap(client))
        await _life(plane, client, preparing)


async def _life(plane: ControlPlane, client: Client, preparing: asyncio.Task[list[str]]) -> None:
    async with Front(client, PLACE) as front:
        await preparing
        await until(lambda: not front.discovery.unsynced(), within=30)
        assert {"configmaps", "workloadclusters", "negotiatedapiresources"} <= names(front)
        await client.create(CRDS, crd(PLACE, "widgets", "Widget", "x"))
        await until(lambda: "widgets" in names(front))
        before = answer(front, "/apis")
        apiserver = plane.processes["kube-apiserver"]
        pid = apiserver.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: apiserver.pid != pid)
        assert answer(front, "/apis") == before
        assert front.discovery.serves(PLACE, "example.com", "v1", "widgets")
        await front.discovery.refresh(PLACE, "example.com", "v1", "unknown")  # says nothing, raises nothing

        await plane.wait_ready()
        await client.delete(CRDS, f"widgets.{PLACE.prefix}example.com")
        await client.create(CRDS, crd(PLACE, "gadgets", "Gadget", "x"))
        await until(lambda: "gadgets" in names(front) and "widgets" not in names(front), within=30)
        groups = orjson.loads(answer(front, "/apis"))["groups"]
        assert "example.com" in [group["name"] for group in groups]
