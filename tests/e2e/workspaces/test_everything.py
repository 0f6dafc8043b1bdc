"""``--resources='*'``: a workspace knows all that a cluster serves, and what is named is synced."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.kube.config import load_kubeconfig
from syncer.namespaces import CLUSTERS
from syncer.runner import Settings, Syncer
from tests.e2e.workspaces.installation import Installation
from tests.e2e.workspaces.natives import NATIVES
from tests.e2e.workspaces.places import Places
from tests.e2e.workspaces.twins import Answer, Api

CLUSTER = f"/apis/{CLUSTERS.api_version}/workloadclusters"
IMPORTS = "/apis/apiresource.kcp.dev/v1alpha1/apiresourceimports"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


async def served(api: Api) -> set[str]:
    found = set()
    for root in ("/api", "/apis"):
        for group in (await api.must("GET", root, accept=AGGREGATED, accept_encoding="identity"))["items"]:
            found |= {entry["resource"] for version in group["versions"] for entry in version["resources"]}
    return found


async def test_a_workspace_knows_all_that_its_cluster_serves(kcp: Installation, places: Places) -> None:
    path = await kcp.fresh()
    api = Api(path, load_kubeconfig(kcp.config(path)))
    cluster: dict[str, Any] = {
        "apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "metadata": {"name": "east"}, "spec": {},
    }  # fmt: skip
    await api.must("POST", CLUSTER, cluster)
    before = await served(api)
    assert "persistentvolumes" not in before
    settings = Settings(
        workspace=path,
        cluster="east",
        above=api.connection,
        below=places.plain.connection,
        resources=["*", "configmaps"],
        poll=5.0,
    )
    task = asyncio.create_task(Syncer(settings).run())
    try:
        wanted = {native.plural for native in NATIVES}
        missing = wanted
        deadline = asyncio.get_running_loop().time() + 240
        while missing:
            assert not task.done(), task.result()
            assert asyncio.get_running_loop().time() < deadline, missing
            await asyncio.sleep(0.2)
            missing = wanted - await served(api)
        never = {"nodes", "ipaddresses", "servicecidrs", "apiservices", "flowschemas", "certificatesigningrequests"}
        assert not never & await served(api)
        imported = {
            item["spec"]["plural"] for item in (await api.must("GET", IMPORTS, accept_encoding="identity"))["items"]
        }
        assert wanted <= imported
        assert not imported & (never | {"namespaces", "clusterroles", "customresourcedefinitions", "events"})

        def reported(answer: Answer) -> bool:
            return bool((answer.json.get("status") or {}).get("syncedResources"))

        shown = await api.until("GET", f"{CLUSTER}/east", wanted=reported)
        assert shown.json["status"]["syncedResources"] == ["configmaps"]
        for native in NATIVES:
            if not native.namespaced:
                await api.must("POST", native.place, native.body("imported"))
                await api.must("DELETE", f"{native.place}/imported")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()
