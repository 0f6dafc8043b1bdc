"""kr8s: objects of known and of unknown kinds, tables, labels, waiting, watching, ownership, scale, errors."""

from __future__ import annotations

from typing import Any

import kr8s.asyncio
import pytest
from kr8s.asyncio.objects import ConfigMap, Namespace, Table, object_from_spec

from tests.clients import same
from tests.clients.side import Side, Sides
from tests.clients.tools import definition, tool
from tests.integration.eventually import eventually

GROUP, NS = "kr8s.example.com", "kr8s"


async def _refusal(call: Any) -> tuple[int, Any]:
    """Status code and body of what the server says no to."""
    with pytest.raises(kr8s.ServerError) as raised:
        await call
    assert raised.value.response is not None
    return raised.value.response.status_code, same.obj(raised.value.response.json())


async def _names(listing: Any) -> list[tuple[str, str]]:
    return [(item.namespace, item.name) async for item in listing]


def _config_map(api: Any, name: str, **labels: str) -> Any:
    return ConfigMap({"metadata": {"name": name, "namespace": NS, "labels": labels}, "data": {"k": "v"}}, api=api)


async def _custom(api: Any) -> list[Any]:
    made = await object_from_spec(definition(GROUP), api=api, allow_unknown_type=True)
    await made.create()

    async def known() -> bool:
        made = await object_from_spec(saw, api=api, allow_unknown_type=True)
        await made.create()
        return True

    saw = tool(GROUP, "saw", size=2)
    saw["metadata"]["namespace"] = NS
    await eventually(known, kr8s.ServerError, kr8s.NotFoundError, ValueError, timeout=60, interval=0.2)

    async def shown() -> bool:  # an aggregator hears of a CRD later than its objects can be made
        return any(kind["kind"] == "Tool" and GROUP in kind["version"] for kind in await api.api_resources())

    await eventually(shown, kr8s.ServerError, timeout=60, interval=0.3)

    async def listed() -> list[Any]:  # a server's cache of a new type may begin after its first object
        return [item async for item in api.get(f"tools.{GROUP}", namespace=NS)]

    [found] = await eventually(listed, timeout=30, interval=0.2)
    await found.patch({"status": {"phase": "Sharp"}}, subresource="status")
    await found.annotate(seen="yes")
    child = _config_map(api, "child")
    await child.create()
    await found.adopt(child)
    # The kind as the library writes it, Tool or tool: it knows of all objects of this process, the other side's too.
    owners = [owner["kind"].lower() for owner in child.raw["metadata"]["ownerReferences"]]
    results = [{**same.obj(found.raw), "kind": found.raw["kind"].lower()}, owners]
    results.append(await _refusal(found.patch({"spec": {"size": 10}})))
    [table] = [item async for item in api.get(f"tools.{GROUP}", namespace=NS, as_object=Table)]
    columns = [column["name"] for column in table.raw["columnDefinitions"]]
    rows = [same.obj(row["cells"]) for row in table.raw["rows"]]
    await found.delete()
    await found.wait("delete", timeout=60)
    return [*results, columns, rows, [kind["name"] for kind in await api.api_resources() if GROUP in kind["version"]]]


async def _play(side: Side) -> list[Any]:
    api = await kr8s.asyncio.api(kubeconfig=str(side.kubeconfig))
    await Namespace({"metadata": {"name": NS}}, api=api).create()
    one, two = _config_map(api, "one", app="x"), _config_map(api, "two", app="y")
    await one.create()
    await two.create()
    results: list[Any] = [same.obj(one.raw), await one.exists()]
    results.append(await _refusal(_config_map(api, "one").create()))
    await one.patch({"data": {"m": "1"}})
    await one.patch([{"op": "add", "path": "/data/j", "value": "1"}], type="json")
    await one.label(colour="red")
    await one.remove_label("app")
    await two.refresh()
    results += [same.obj(one.raw), same.obj(two.raw)]
    results.append(await _names(ConfigMap.list(api=api, namespace=NS, label_selector={"app": "y"})))
    results.append(await _names(ConfigMap.list(api=api, namespace=NS, field_selector="metadata.name=one")))
    results.append(await _names(api.get("configmaps", namespace=kr8s.ALL, label_selector="colour=red")))
    async for event, seen in api.watch("configmaps", namespace=NS, label_selector="app=y"):
        results.append((event, seen.name))
        if event == "DELETED":
            break
        await two.delete()
    await two.wait("delete", timeout=60)
    results += [await two.exists(), (await api.version())["gitVersion"]]
    return [*results, await _custom(api)]


@pytest.mark.filterwarnings("ignore:Kubernetes version")
async def test_kr8s(sides: Sides) -> None:
    await sides.same(_play)
