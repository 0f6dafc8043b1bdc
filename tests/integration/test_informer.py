"""The picture that an informer keeps, with what is told to it of writes whose events are still on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from proxy.kube.client import Client, Object, Resource
from proxy.kube.informer import Informer
from tests.integration.eventually import eventually

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACE = "default"
SELECTOR = "followed=yes"


class Ground:
    """Objects of one test, and what its informer has told of them."""

    def __init__(self, client: Client, informer: Informer, told: list[tuple[str, str, int]]) -> None:
        self.client = client
        self.informer = informer
        self.told = told
        """Type, name and version, in order."""

    async def make(self, name: str) -> Object:
        meta = {"name": name, "labels": {"followed": "yes"}}
        return await self.client.create(CONFIGMAPS, {"metadata": meta}, NAMESPACE)

    async def change(self, name: str, patch: Object) -> Object:
        return await self.client.patch(CONFIGMAPS, name, patch, NAMESPACE)

    async def caught_up(self) -> None:
        """The watch has told of all that was there before."""
        marker = (await self.make(f"marker-{len(self.told)}"))["metadata"]["name"]

        async def seen() -> bool:
            return (NAMESPACE, marker) in self.informer.store

        await eventually(seen)
        await self.client.delete(CONFIGMAPS, marker, NAMESPACE)

    def of(self, name: str) -> list[tuple[str, int]]:
        return [(kind, version) for kind, which, version in self.told if which == name]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ground(admin: Client) -> AsyncIterator[Ground]:
    informer = Informer(admin, CONFIGMAPS, namespace=NAMESPACE, label_selector=SELECTOR)
    told: list[tuple[str, str, int]] = []
    informer.add_handler(
        lambda kind, old, new: told.append((kind, new["metadata"]["name"], int(new["metadata"]["resourceVersion"])))
    )
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    ground = Ground(admin, informer, told)
    await ground.caught_up()
    yield ground
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


async def test_what_was_written_is_known_at_once_and_told_once(ground: Ground) -> None:
    made = await ground.make("written")
    ground.informer.saw(made)
    assert _version(ground.informer.store[NAMESPACE, "written"]) >= _version(made)
    changed = await ground.change("written", {"data": {"a": "b"}})
    ground.informer.saw(changed)
    assert ground.informer.store[NAMESPACE, "written"]["data"] == {"a": "b"}
    await ground.caught_up()
    assert ground.of("written") == [("ADDED", _version(made)), ("MODIFIED", _version(changed))]


async def test_what_is_gone_meanwhile_does_not_come_back(ground: Ground) -> None:
    made = await ground.make("short-lived")
    await ground.client.delete(CONFIGMAPS, "short-lived", NAMESPACE)
    await ground.caught_up()
    kept = ground.informer.saw(made)
    assert kept == made
    assert (NAMESPACE, "short-lived") not in ground.informer.store


async def test_an_answer_that_comes_late_changes_nothing(ground: Ground) -> None:
    made = await ground.make("late")
    changed = await ground.change("late", {"data": {"a": "b"}})
    await ground.caught_up()
    ground.informer.saw(made)
    assert ground.informer.store[NAMESPACE, "late"]["data"] == {"a": "b"}
    assert ground.of("late")[-1] == ("MODIFIED", _version(changed))


async def test_what_we_have_taken_out_of_the_selection_goes(ground: Ground) -> None:
    ground.informer.saw(await ground.make("leaves"))
    left = await ground.change("leaves", {"metadata": {"labels": {"followed": None}}})
    ground.informer.saw(left)
    await ground.caught_up()
    assert (NAMESPACE, "leaves") not in ground.informer.store
    assert ground.of("leaves")[-1] == ("DELETED", _version(left))
