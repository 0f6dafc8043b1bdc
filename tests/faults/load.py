"""A seeded load: creates, updates and deletions in a workspace, and statuses on its cluster, while things die."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from tests.faults.rig import Rig

CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
KINDS = {CONFIGMAPS: "ConfigMap", SECRETS: "Secret", DEPLOYMENTS: "Deployment"}
SPACES = ("one", "two", "three")
NAMES = 12
"""Of objects of each kind in each namespace: few, so that the same are made, changed and deleted again and again."""
CLIENTS = 4
AWAY = (409, 429, 500, 502, 503, 504)
"""Answers of what is just dying or has just died; 409 also of what is still being deleted."""


class Load:
    """``done`` counts what was asked for, ``refused`` what met something that was dead."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self._rig = rig
        self._random = random.Random(f"{seed} load")
        self._number = 0
        self.done = 0
        self._progress = asyncio.Condition()
        self.refused = 0

    async def more(self, count: int) -> None:
        """Wait until so much more was done."""
        enough = self.done + count
        async with self._progress:
            await self._progress.wait_for(lambda: self.done >= enough)

    async def prepare(self) -> None:
        for name in SPACES:
            await self._rig.above.create(
                NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            try:
                # Somebody who gets no answer tries something else.
                async with asyncio.timeout(2):
                    await self._one(*self._choose())
            except TimeoutError:
                self.refused += 1
            await asyncio.sleep(0.1)

    def _choose(self) -> tuple[str, Resource, str, str]:
        self._number += 1
        what = self._random.choices(("write", "delete", "status", "drift"), (6, 2, 1, 1))[0]
        resource = self._random.choice(list(KINDS))
        return what, resource, self._random.choice(SPACES), f"{resource.plural[:-1]}-{self._random.randrange(NAMES)}"

    async def _one(self, what: str, resource: Resource, namespace: str, name: str) -> None:
        above, below, physical = self._rig.above, self._rig.below, self._rig.physical(namespace)
        number = self._number
        try:
            if what == "write":
                await write(above, resource, namespace, name, number)
            elif what == "delete":
                await above.delete(resource, name, namespace)
            elif what == "status" and resource is DEPLOYMENTS:
                status = {"status": {"collisionCount": number}}
                await below.patch(resource, name, status, physical, subresource="status")
            elif what == "drift" and resource is CONFIGMAPS:
                await below.patch(resource, name, {"data": {"k": "drift", "more": "drift"}}, physical)
            elif what == "drift":
                await below.delete(resource, name, physical)
            self.done += 1
            async with self._progress:
                self._progress.notify_all()
        except StatusError as error:
            if error.code in AWAY:
                self.refused += 1
            elif error.code != 404:
                raise


async def write(above: Client, resource: Resource, namespace: str, name: str, number: int) -> None:
    """Make an object, or change the one that is there."""
    value = f"v{number}"
    changes: dict[str, Any] = {"metadata": {"annotations": {"number": value}}}
    if resource is DEPLOYMENTS:
        changes["spec"] = {"replicas": number % 5}
    else:
        changes["data" if resource is CONFIGMAPS else "stringData"] = {"k": value}
    try:
        await above.patch(resource, name, changes, namespace)
    except StatusError as error:
        if error.code != 404:
            raise
        obj = {"apiVersion": resource.api_version, "kind": KINDS[resource], **changes}
        obj["metadata"]["name"] = name
        if resource is DEPLOYMENTS:
            labels = {"app": name}
            pod = {"containers": [{"name": "words", "image": "words:1"}]}
            template = {"metadata": {"labels": labels}, "spec": pod}
            obj["spec"] |= {"selector": {"matchLabels": labels}, "template": template}
        await above.create(resource, obj, namespace)
