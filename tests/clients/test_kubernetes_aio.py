"""The official Python client's asynchronous half: objects, apply, pages, watches, custom objects, files."""

from __future__ import annotations

import asyncio
from typing import Any

import yaml
from kubernetes.aio import client, config, utils, watch

from tests.clients import same
from tests.clients.official import APPLY, MERGE, error
from tests.clients.side import Side, Sides
from tests.clients.tools import definition, tool
from tests.integration.eventually import eventually

GROUP, NS = "aio.example.com", "py-aio"
FILE = """
apiVersion: v1
kind: Secret
metadata: {name: filed, namespace: py-aio}
stringData: {a: b}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: filed, namespace: py-aio}
spec: {holderIdentity: me}
"""


class Calls:
    """``await calls(function, ...)`` is what it answers, as plain data, or what its ApiException says."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.core, self.custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    async def __call__(self, function: Any, *arguments: Any, **options: Any) -> Any:
        try:
            answer = await function(*arguments, **options)
        except client.ApiException as raised:
            return error(raised)
        return same.obj(self.api.sanitize_for_serialization(answer))


def _applied(value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": value}}


async def _objects(calls: Calls) -> list[Any]:
    core, patch = calls.core, calls.core.patch_namespaced_config_map
    results = [await calls(core.create_namespaced_config_map, NS, {"metadata": {"name": n}}) for n in "aabcde"]
    results += [
        await calls(patch, "a", NS, {"data": {"m": "1"}}, _content_type=MERGE),
        await calls(patch, "applied", NS, _applied("v"), field_manager="one", _content_type=APPLY),
        await calls(patch, "applied", NS, _applied("w"), field_manager="two", _content_type=APPLY),
        await calls(patch, "applied", NS, _applied("w"), field_manager="two", force=True, _content_type=APPLY),
        await calls(core.read_namespaced_config_map, "missing", NS),
        await calls(core.delete_namespaced_config_map, "b", NS),
    ]
    token = None
    while token != "":
        page = await core.list_namespaced_config_map(NS, limit=2, _continue=token)
        token = page.metadata._continue or ""
        results.append(([item.metadata.name for item in page.items], page.metadata.remaining_item_count))
    return results


async def _watched(calls: Calls) -> list[tuple[str, str]]:
    """While others write: every object's events in order, from the version of a list on."""
    listed = await calls.core.list_namespaced_config_map(NS)

    async def write(writer: int) -> None:
        for number in range(5):
            name = f"w{writer}-{number}"
            await calls.core.create_namespaced_config_map(NS, {"metadata": {"name": name}})
            await calls.core.patch_namespaced_config_map(name, NS, {"data": {"k": "v"}}, _content_type=MERGE)
            await calls.core.delete_namespaced_config_map(name, NS)

    writing = asyncio.gather(*(write(number) for number in range(3)))
    seen: list[tuple[str, str]] = []
    async with watch.Watch() as watcher:
        version = listed.metadata.resource_version
        async for event in watcher.stream(calls.core.list_namespaced_config_map, NS, resource_version=version):
            seen.append((event["raw_object"]["metadata"]["name"], event["type"]))
            if len(seen) == 3 * 5 * 3:
                break
    await writing
    return sorted(seen)


async def _customs(calls: Calls) -> list[Any]:
    api, here = calls.custom, (GROUP, "v1", NS, "tools")
    await client.ApiextensionsV1Api(calls.api).create_custom_resource_definition(definition(GROUP))

    async def made() -> bool:
        await api.create_namespaced_custom_object(*here, tool(GROUP, "saw"))
        return True

    await eventually(made, client.ApiException, timeout=60, interval=0.1)
    return [
        await calls(api.create_namespaced_custom_object, *here, tool(GROUP, "axe", size=10)),
        await calls(api.get_namespaced_custom_object, *here, "saw"),
        await calls(api.get_namespaced_custom_object_scale, *here, "saw"),
        await calls(api.list_namespaced_custom_object, *here),
        await calls(api.delete_namespaced_custom_object, *here, "saw"),
    ]


async def _files(calls: Calls) -> list[Any]:
    results: list[Any] = []
    for document in yaml.safe_load_all(FILE):
        for _ in range(2):
            try:
                await utils.create_from_dict(calls.api, document)
            except utils.FailToCreateError as raised:
                results.append([error(failure) for failure in raised.api_exceptions])
    return [*results, await calls(client.CoordinationV1Api(calls.api).read_namespaced_lease, "filed", NS)]


async def _play(side: Side) -> list[Any]:
    async with await config.new_client_from_config(str(side.kubeconfig)) as api:
        calls = Calls(api)
        results = [await calls(calls.core.create_namespace, {"metadata": {"name": NS}})]
        await eventually(lambda: _settled(calls), timeout=60)
        return [*results, await _objects(calls), await _watched(calls), await _customs(calls), await _files(calls)]


async def _settled(calls: Calls) -> bool:
    return len((await calls.core.list_namespaced_config_map(NS)).items) == 1


async def test_asynchronous_client(sides: Sides) -> None:
    await sides.same(_play)
