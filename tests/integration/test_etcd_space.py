"""A shard's etcd at its quota: what is refused, what goes on, who says so, and what makes all of it well."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from proxy.tenancy.api import WORKSPACES
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
QUOTA = 16 * 2**20
LARGE = 900_000
PARENT, USED, UNUSED = "root:default", "root:default:used", "root:default:unused"


def configmap(name: str, size: int = 1) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v" * size}}


def workspace(name: str) -> Object:
    spec = {"type": "Universal"}
    return {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec}


async def refusal(client: Client, resource: Resource, body: Object, namespace: str | None) -> tuple[int, str, str]:
    with pytest.raises(StatusError) as failure:
        await client.create(resource, body, namespace)
    return failure.value.code, failure.value.reason, failure.value.message


async def fill(client: Client) -> list[str]:
    """Names of what found room."""
    names: list[str] = []
    while True:
        try:
            await client.create(CONFIGMAPS, configmap(f"large-{len(names)}", LARGE), "default")
        except StatusError:
            return names
        names.append(f"large-{len(names)}")


async def test_full_and_well_again(tmp_path: Path) -> None:
    port = free_port()
    options = ("--workers", "2", "--etcd-quota-backend-bytes", str(QUOTA))
    async with Kcp(tmp_path / ".kcp", *options, metrics=f"127.0.0.1:{port}") as kcp:
        root = ("--root-directory", str(kcp.root))
        for path in (USED, UNUSED):
            await kcp.make_workspace(PARENT, path.rpartition(":")[2])
        async with (
            kcp.client(PARENT) as parent,
            kcp.client(USED) as used,
            kcp.client(UNUSED) as unused,
            Client(load_kubeconfig(kcp.root / "shard" / "admin.kubeconfig")) as shard,
        ):
            await eventually(lambda: used.get(NAMESPACES, "default"), StatusError)
            names = await fill(used)
            assert names

            # Refused as the shard itself refuses.
            refused = await refusal(shard, CONFIGMAPS, configmap("small"), "default")
            assert refused[0] == 500
            assert "database space exceeded" in refused[2]
            assert await refusal(used, CONFIGMAPS, configmap("small"), "default") == refused
            assert await refusal(parent, WORKSPACES, workspace("new"), None) == refused
            assert await refusal(unused, CONFIGMAPS, configmap("small"), "default") == refused

            # Said by all who are asked.
            status, text = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/readyz")
            assert (status, "[-]etcd failed: it is at its quota and takes no more writes" in text) == (503, True), text
            _, text = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/metrics")
            assert 'kcp_shard_storage_full{shard="root"} 1\n' in text.replace("1.0\n", "1\n")
            code, output, _ = await run_kcp("doctor", *root, "-o", "json")
            [etcd] = [finding for finding in json.loads(output) if finding["check"] == "etcd"]
            assert (code, etcd["state"], etcd["advice"]) == (
                1, "failure", "delete what nobody needs, then kcp defragment",
            )  # fmt: skip

            # Reads, watches and deletions go on, after a new start as well.
            assert await kcp.end(signal.SIGTERM) == 0
            await kcp.again()
            assert "etcd: it is at its quota and takes no more writes; kcp doctor says what to do\n" in kcp.output
            listed = await used.list(CONFIGMAPS, "default")
            assert {item["metadata"]["name"] for item in listed["items"]} >= set(names)
            version = listed["metadata"]["resourceVersion"]
            gone: list[str] = []
            events = used.watch(CONFIGMAPS, "default", resource_version=version)
            for name in names:
                await used.request("DELETE", CONFIGMAPS.path("default", name))
            async with asyncio.timeout(60):
                async for event in events:
                    if event["type"] == "DELETED":
                        gone.append(event["object"]["metadata"]["name"])
                    if len(gone) == len(names):
                        break
            assert gone == names
            assert await refusal(used, CONFIGMAPS, configmap("small"), "default") == refused

            code, output, errors = await run_kcp("defragment", *root)
            assert (code, errors) == (0, "")
            assert output.endswith("; writes are taken again\n")
            await used.create(CONFIGMAPS, configmap("small"), "default")
            await parent.create(WORKSPACES, workspace("new"))
            await parent.request("DELETE", WORKSPACES.path(None, "used"))

            async def converged() -> bool:
                phases = {
                    item["metadata"]["name"]: (item.get("status") or {}).get("phase")
                    for item in (await parent.list(WORKSPACES))["items"]
                }
                return "used" not in phases and phases["new"] == "Ready"

            await eventually(converged)
            await unused.create(CONFIGMAPS, configmap("small"), "default")
            status, text = await asyncio.to_thread(ask, f"http://127.0.0.1:{port}/readyz")
            assert status == 200, text
            code, output, _ = await run_kcp("defragment", *root)
            assert (code, "writes" in output) == (0, False)
    code, _, errors = await run_kcp("defragment", *root)
    assert code == 1
    assert errors.startswith("Error: etcd in ")
    assert len(errors.splitlines()) == 1


def ask(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
