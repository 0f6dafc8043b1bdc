"""Quotas of workspaces are kept by kcp's controller: soon, rightly, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.shared import shared_group
from proxy.mapping.token import new_token
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy import quotas
from proxy.tenancy.content import CRDS
from proxy.tenancy.quotas import QUOTAS, Quotas
from tests.integration.eventually import eventually
from tests.integration.running import running
from tests.integration.test_namespaces import CONFIG_MAPS, PODS, SERVICES, complete, config_map, make, widgets

SECRETS = Resource("", "v1", "secrets")
SOON = 1.0
"""Seconds in which what is used goes down; several times what it takes."""
NOWHERE = "https://127.0.0.1:9"


def controller(client: Client) -> AbstractAsyncContextManager[None]:
    return running(Quotas({"shard": client}).run())


@pytest.fixture
async def keeping(admin: Client) -> AsyncIterator[None]:
    async with controller(admin):
        yield


@pytest.fixture
def place() -> str:
    return f"{new_token()}-place"


async def limit(client: Client, place: str, hard: Mapping[str, str], name: str = "q", **spec: Any) -> None:
    await client.create(QUOTAS, {"metadata": {"name": name}, "spec": {"hard": dict(hard), **spec}}, place)


async def used(client: Client, place: str, name: str = "q") -> dict[str, str]:
    return dict((await client.get(QUOTAS, name, place)).get("status", {}).get("used") or {})


async def uses(client: Client, place: str, amounts: Mapping[str, str], name: str = "q", within: float = 30.0) -> float:
    """Seconds until that is used."""
    began = time.monotonic()

    async def does() -> bool:
        return await used(client, place, name) == amounts

    try:
        await eventually(does, timeout=within, interval=0.01)
    except AssertionError:
        assert await used(client, place, name) == amounts
    return time.monotonic() - began


async def test_what_goes_is_free_at_once(admin: Client, keeping: None, place: str) -> None:
    """Native kinds, the workspace's own, those that it shares."""
    token = place.partition("-")[0]
    kinds = [
        Resource(group, "v1", "widgets")
        for group in (f"{token}-example.com", shared_group(token[1:] + "aaaa", "example.com"))
    ]
    for kind in kinds:
        await eventually(partial(admin.create, CRDS, widgets(kind.group)), StatusError)
    try:
        await make(admin, place)
        keys = ["configmaps", *(f"count/widgets.{kind.group}" for kind in kinds)]
        hard = {**dict.fromkeys(keys, "3"), "count/configmaps": "4", "secrets": "2"}
        await limit(admin, place, hard)
        start = {**dict.fromkeys(keys[1:], "0"), "configmaps": "1", "count/configmaps": "1", "secrets": "0"}
        await uses(admin, place, start)
        assert (await admin.get(QUOTAS, "q", place))["status"]["hard"] == hard
        for kind, key in zip(kinds, keys[1:], strict=True):
            widget = complete(kind, "Widget", config_map("w"))
            await eventually(partial(admin.create, kind, widget, place), StatusError)
            await uses(admin, place, start | {key: "1"})
            await asyncio.sleep(2)
            await admin.delete(kind, "w", place)
            assert await uses(admin, place, start) < SOON
        for name in ("a", "b"):
            await admin.create(CONFIG_MAPS, config_map(name), place)
        with pytest.raises(StatusError, match="exceeded quota: q, requested: configmaps=1, used: configmaps=3"):
            await admin.create(CONFIG_MAPS, config_map("c"), place)
        await admin.delete(CONFIG_MAPS, "a", place)
        assert await uses(admin, place, start | {"configmaps": "2", "count/configmaps": "2"}) < SOON
    finally:
        for kind in kinds:
            await admin.delete(CRDS, f"widgets.{kind.group}")


async def test_a_quota_that_changes(admin: Client, keeping: None, place: str) -> None:
    await make(admin, place)
    await limit(admin, place, {"configmaps": "3"})
    await uses(admin, place, {"configmaps": "1"})
    await admin.patch(QUOTAS, "q", {"spec": {"hard": {"configmaps": None, "secrets": "2"}}}, place)
    assert await uses(admin, place, {"secrets": "0"}) < SOON
    assert (await admin.get(QUOTAS, "q", place))["status"]["hard"] == {"secrets": "2"}
    await admin.create(SECRETS, config_map("s"), place)
    await admin.delete(SECRETS, "s", place)
    assert await uses(admin, place, {"secrets": "0"}) < SOON


async def test_types_that_come_later_and_go(admin: Client, keeping: None, place: str) -> None:
    token = place.partition("-")[0]
    kind = Resource(f"{token}-example.com", "v1", "widgets")
    key = f"count/widgets.{kind.group}"
    await make(admin, place)
    await limit(admin, place, {"configmaps": "3", key: "3"})
    await uses(admin, place, {"configmaps": "1"})
    await admin.create(CRDS, widgets(kind.group))
    await uses(admin, place, {"configmaps": "1", key: "0"}, within=10)
    widget = complete(kind, "Widget", config_map("w"))
    await eventually(partial(admin.create, kind, widget, place), StatusError)
    await uses(admin, place, {"configmaps": "1", key: "1"})
    await admin.delete(CRDS, f"widgets.{kind.group}")
    await uses(admin, place, {"configmaps": "1", key: "0"})


def pod(name: str, cpu: str, **spec: Any) -> Object:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def test_changes_that_take_less(admin: Client, keeping: None, place: str) -> None:
    """Of which admission takes no notice: pods that end, services of another type."""
    await make(admin, place)
    await limit(admin, place, {"pods": "9", "count/pods": "9", "requests.cpu": "9", "services.nodeports": "9"})
    await limit(admin, place, {"pods": "9", "cpu": "9"}, "short", scopes=["Terminating"])
    nothing = {"pods": "0", "count/pods": "0", "requests.cpu": "0", "services.nodeports": "0"}
    await uses(admin, place, nothing)
    await uses(admin, place, {"pods": "0", "cpu": "0"}, "short")
    for name, more in (("a", {}), ("b", {"activeDeadlineSeconds": 600})):
        await admin.create(PODS, pod(name, "300m", **more), place)
    spec = {"type": "NodePort", "ports": [{"name": "x", "port": 1}, {"name": "y", "port": 2}]}
    await admin.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec}, place)
    full = {"pods": "2", "count/pods": "2", "requests.cpu": "600m", "services.nodeports": "2"}
    await uses(admin, place, full)
    await uses(admin, place, {"pods": "1", "cpu": "300m"}, "short")
    await asyncio.sleep(3)
    await admin.patch(SERVICES, "s", {"spec": {"type": "ClusterIP", "ports": spec["ports"]}}, place)
    assert await uses(admin, place, full | {"services.nodeports": "0"}) < SOON
    await admin.patch(PODS, "b", {"status": {"phase": "Succeeded"}}, place, subresource="status")
    assert await uses(admin, place, nothing | {"pods": "1", "count/pods": "2", "requests.cpu": "300m"}) < SOON
    await uses(admin, place, {"pods": "0", "cpu": "0"}, "short")
    for name in ("a", "b"):
        await admin.delete(PODS, name, place, grace=0)
    assert await uses(admin, place, nothing) < SOON


async def test_many_that_go_together(admin: Client, keeping: None, place: str) -> None:
    await make(admin, place)
    await limit(admin, place, {"configmaps": "500"})
    await uses(admin, place, {"configmaps": "1"})
    await asyncio.gather(*(admin.create(CONFIG_MAPS, config_map(f"m-{number}"), place) for number in range(200)))
    await uses(admin, place, {"configmaps": "201"})
    await admin.delete_collection(CONFIG_MAPS, place)
    await uses(admin, place, {"configmaps": "1"})  # the one of every namespace comes back


async def test_writers_and_what_is_used_agree_in_the_end(admin: Client, keeping: None, place: str) -> None:
    """Whoever counts while others write must not overwrite what admission has raised."""
    await make(admin, place)
    await limit(admin, place, {"secrets": "1000"})
    await uses(admin, place, {"secrets": "0"})
    kept = 0

    async def write(who: int) -> None:
        nonlocal kept
        for number in range(40):
            name = f"s-{who}-{number}"
            with suppress(StatusError):  # where many write, admission gives up at last
                await admin.create(SECRETS, config_map(name), place)
                kept += 1
                if number % 3:
                    await admin.delete(SECRETS, name, place)
                    kept -= 1

    await asyncio.gather(*map(write, range(6)))
    left = len((await admin.list(SECRETS, place))["items"])
    await uses(admin, place, {"secrets": str(left)}, within=10)


@pytest.mark.parametrize(("which", "other"), [("QUIET", "RESYNC"), ("RESYNC", "QUIET")])
async def test_what_was_raised_for_nothing_is_found(
    admin: Client, place: str, monkeypatch: pytest.MonkeyPatch, which: str, other: str
) -> None:
    monkeypatch.setattr(quotas, which, 4.0)
    monkeypatch.setattr(quotas, other, 90.0)
    async with controller(admin):
        await make(admin, place)
        await limit(admin, place, {"configmaps": "9"})
        await uses(admin, place, {"configmaps": "1"})
        await asyncio.sleep(3)
        await admin.patch(QUOTAS, "q", {"status": {"used": {"configmaps": "5"}}}, place, subresource="status")
        assert await uses(admin, place, {"configmaps": "1"}) > 2


async def test_a_controller_that_was_away(admin: Client, place: str) -> None:
    async with controller(admin):
        await make(admin, place)
        await limit(admin, place, {"configmaps": "9"})
        await admin.create(CONFIG_MAPS, config_map("a"), place)
        await uses(admin, place, {"configmaps": "2"})
    await admin.delete(CONFIG_MAPS, "a", place)
    await limit(admin, place, {"secrets": "9"}, "new")
    await asyncio.sleep(1)
    assert await used(admin, place) == {"configmaps": "2"}
    async with controller(admin):
        await uses(admin, place, {"configmaps": "1"})
        await uses(admin, place, {"secrets": "0"}, "new")


async def test_a_shard_that_starts_again(shard: ControlPlane, admin: Client, keeping: None, place: str) -> None:
    await make(admin, place)
    await limit(admin, place, {"configmaps": "9"})
    await admin.create(CONFIG_MAPS, config_map("a"), place)
    await uses(admin, place, {"configmaps": "2"})
    pid = shard.processes["kube-apiserver"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(partial(admin.delete, CONFIG_MAPS, "a", place), StatusError)
    await eventually(partial(uses, admin, place, {"configmaps": "1"}), StatusError)


def converted(group: str, stored: str) -> Object:
    token, _, plain = group.partition("-")
    crd = widgets(group)
    (version,) = crd["spec"]["versions"]
    crd["spec"]["versions"] = [{**version, "name": name, "storage": name == stored} for name in ("v1", "v2")]
    url = f"{NOWHERE}/admission/convert/{token}/widgets.{plain}/{'a' * 43}/https://nobody/"
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"url": url}}
    crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
    return crd


async def test_a_type_that_cannot_be_counted_keeps_no_other(admin: Client, keeping: None, place: str) -> None:
    """Neither of its own quota, nor of its workspace, nor of others."""
    token = place.partition("-")[0]
    other = f"{new_token()}-place"
    kind = Resource(f"{token}-example.com", "v1", "widgets")
    key = f"count/widgets.{kind.group}"
    await admin.create(CRDS, widgets(kind.group))
    try:
        for name in (place, other):
            await make(admin, name)
        widget = complete(kind, "Widget", config_map("w"))
        await eventually(partial(admin.create, kind, widget, place), StatusError)
        spec = converted(kind.group, "v2")["spec"]
        await admin.patch(CRDS, f"widgets.{kind.group}", {"spec": spec})

        async def fails() -> bool:
            try:
                await admin.list(Resource(kind.group, "v2", "widgets"), place)
            except StatusError as error:
                return error.code == 500
            return False

        await eventually(fails)
        await limit(admin, place, {key: "9", "secrets": "9"})
        await limit(admin, place, {"configmaps": "9"}, "more")
        await limit(admin, other, {"configmaps": "9"})
        assert await uses(admin, place, {"secrets": "0"}) < SOON
        assert (await admin.get(QUOTAS, "q", place))["status"]["hard"] == {key: "9", "secrets": "9"}
        await uses(admin, place, {"configmaps": "1"}, "more")
        await uses(admin, other, {"configmaps": "1"})
        for where, resource, name, freed in (
            (place, SECRETS, "q", {"secrets": "0"}), (other, CONFIG_MAPS, "q", {"configmaps": "1"}),
        ):  # fmt: skip
            await admin.create(resource, config_map("a"), where)
            await asyncio.sleep(1)
            await admin.delete(resource, "a", where)
            assert await uses(admin, where, freed, name) < SOON
        await admin.patch(
            CRDS, f"widgets.{kind.group}", {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
        )
        await uses(admin, place, {key: "1", "secrets": "0"})
    finally:
        await admin.delete(CRDS, f"widgets.{kind.group}")
