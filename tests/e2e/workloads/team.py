"""A team: a workspace, a physical cluster, and the syncer between them, as a user would set them up."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from proxy.binaries import find
from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from syncer.names import physical_namespace
from tests.clusters import Cluster
from tests.e2e.processes import ancestors, processes
from tests.e2e.workspaces.installation import Installation
from tests.images import REVERSEWORDS, SYNCER
from tests.integration.eventually import eventually

DEPLOYMENTS = Resource("apps", "v1", "deployments")
CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
PODS = Resource("", "v1", "pods")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
WORKLOAD_CLUSTERS = Resource("workload.kcp.dev", "v1alpha1", "workloadclusters", namespaced=False)
LABEL = "workloads.kcp.dev/cluster"
PATIENCE = 90.0
"""Seconds for anything to come about on a busy machine."""


class Team:
    """``up`` is the workspace's client, ``down`` the physical cluster's."""

    def __init__(self, kcp: Installation, path: str, cluster: Cluster, location: str) -> None:
        self.kcp = kcp
        self.path = path
        self.cluster = cluster
        self.location = location
        self.up: Client = kcp.client(path)
        self.down: Client = cluster.client()
        self.manifest = kcp.folder / f"syncer-{location}.yaml"

    async def close(self) -> None:
        await self.down.close()

    async def onboard(self, *flags: str) -> None:
        """Start the syncer on the cluster, and wait until the workspace has Deployments and the cluster is Ready."""
        command = ["kubectl-kcp", "workload", "sync", self.location, "--syncer-image", SYNCER, *flags]
        printed = await self.kcp.run(*command, kubeconfig=self.kcp.kubeconfig(self.path))
        assert printed.code == 0, printed.err
        self.manifest.write_text(printed.out)
        await self.kubectl_below("apply", "-f", str(self.manifest))
        await eventually(self._ready, StatusError, timeout=PATIENCE)

    async def leave(self) -> None:
        """Remove the syncer and what it made."""
        if self.manifest.exists():
            await self.kubectl_below("delete", "-f", str(self.manifest), "--ignore-not-found", "--wait=false")
        for namespace in (await self.down.list(NAMESPACES, label_selector=f"{LABEL}={self.location}"))["items"]:
            await self.down.delete(NAMESPACES, namespace["metadata"]["name"])

    async def kubectl_below(self, *arguments: str) -> str:
        outcome = await self.kcp.run(find("kubectl"), *arguments, kubeconfig=self.cluster.kubeconfig)
        assert outcome.code == 0, outcome.text
        return outcome.out

    def below(self, namespace: str) -> str:
        """The namespace on the physical cluster that stands for one of the workspace."""
        return physical_namespace(self.path, namespace)

    async def namespace(self, name: str) -> str:
        """Make a namespace and wait until it has its cluster."""
        await self.up.create(NAMESPACES, {"metadata": {"name": name}})

        async def placed() -> bool:
            made = await self.up.get(NAMESPACES, name)
            return bool((made["metadata"].get("labels") or {}).get(LABEL) == self.location)

        await eventually(placed, timeout=PATIENCE)
        return name

    async def deploy(self, namespace: str, name: str = "words", replicas: int = 1) -> None:
        """Create a Deployment and wait until all of it is available, as the workspace sees it."""
        await self.up.create(DEPLOYMENTS, deployment(name, replicas), namespace)
        await self.available(namespace, name, replicas)

    async def available(self, namespace: str, name: str, replicas: int, *, image: str | None = None) -> None:
        """Wait until the workspace shows so many replicas, all of them up to date."""

        async def reached() -> bool:
            obj = await self.up.get(DEPLOYMENTS, name, namespace)
            status = obj.get("status") or {}
            current = status.get("observedGeneration") == obj["metadata"]["generation"]
            numbers = [status.get(f"{kind}Replicas", 0) for kind in ("updated", "available")]
            return current and [*numbers, status.get("replicas", 0)] == [replicas] * 3

        await eventually(reached, StatusError, timeout=PATIENCE)
        if image is not None:
            below = await self.down.get(DEPLOYMENTS, name, self.below(namespace))
            assert below["spec"]["template"]["spec"]["containers"][0]["image"] == image

    async def gone_below(self, resource: Resource, name: str, namespace: str | None) -> None:
        """Wait until there is no such object on the physical cluster."""

        async def gone() -> bool:
            try:
                await self.down.get(resource, name, namespace)
            except StatusError as error:
                return error.code == 404
            return False

        await eventually(gone, timeout=PATIENCE)

    async def on_below(
        self, resource: Resource, name: str, namespace: str, *, timeout: float = PATIENCE
    ) -> dict[str, Any]:
        """The object on the physical cluster, as soon as it is there."""

        async def there() -> dict[str, Any]:
            return await self.down.get(resource, name, self.below(namespace))

        return await eventually(there, StatusError, timeout=timeout)

    async def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Running pods on the physical cluster for a namespace of the workspace."""
        listed = await self.down.list(PODS, self.below(namespace))
        return [pod for pod in listed["items"] if not pod["metadata"].get("deletionTimestamp")]

    async def syncer_pod(self) -> dict[str, Any]:
        """The pod of the syncer that runs now."""

        async def running() -> dict[str, Any] | None:
            found: list[dict[str, Any]] = (await self.down.list(PODS, label_selector="app=kcp-syncer"))["items"]
            for pod in found:
                if pod["metadata"]["namespace"] == self.syncer_namespace() and not pod["metadata"].get(
                    "deletionTimestamp"
                ):
                    return pod
            return None

        pod = await eventually(running, timeout=PATIENCE)
        assert pod is not None
        return pod

    async def syncer_restarts(self) -> int:
        """How often its container was started again."""
        status = (await self.syncer_pod()).get("status") or {}
        return sum(each["restartCount"] for each in status.get("containerStatuses") or ())

    def syncer_processes(self) -> list[int]:
        """Its processes as this machine sees them, and nobody else's: others may be running such tests as well."""
        root = self.cluster.process
        assert root is not None
        return [
            pid for pid in processes("syncer", f"--workload-cluster-name={self.location}") if root in ancestors(pid)
        ]

    def syncer_namespace(self) -> str:
        return next(
            line.split(": ")[1] for line in self.manifest.read_text().splitlines() if line.startswith("  namespace: ")
        )

    async def syncer_log(self, *, previous: bool = False) -> str:
        """What the syncer has said, or the one before it."""
        pod = await self.syncer_pod()
        options = ["--previous"] if previous else []
        return await self.kubectl_below("-n", pod["metadata"]["namespace"], "logs", pod["metadata"]["name"], *options)

    async def inside(self, namespace: str, code: str) -> str:
        """Run Python in a pod of the application; what it prints."""
        pod = (await self.pods(namespace))[0]["metadata"]
        command = ["exec", "-n", pod["namespace"], pod["name"], "--", "/usr/local/bin/python3", "-c", code]
        return await self.kubectl_below(*command)

    async def _ready(self) -> bool:
        cluster = await self.up.get(WORKLOAD_CLUSTERS, self.location)
        await self.up.list(DEPLOYMENTS, "default")
        return is_ready(cluster)


def is_ready(cluster: dict[str, Any]) -> bool:
    """Whether a WorkloadCluster's condition Ready is True."""
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def deployment(name: str, replicas: int, image: str = REVERSEWORDS) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "words", "image": image}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }


async def run_syncer(team: Team, kubeconfig: dict[str, Any], seconds: float) -> str:
    """A syncer as a process, beside the one in the pod; what it says in so many seconds from its first line on."""
    folder = team.kcp.folder
    file = folder / f"from-{team.location}.kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "import sys; from syncer.main import main; sys.exit(main())"),
        f"--from-kubeconfig={file}",
        f"--to-kubeconfig={team.cluster.kubeconfig}",
        f"--from-cluster={team.path}",
        f"--workload-cluster-name={team.location}",
        "--resources=configmaps",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    output = await asyncio.wait_for(process.stdout.readline(), 60)
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.terminate()
    output += (await process.communicate())[0]
    return output.decode()
