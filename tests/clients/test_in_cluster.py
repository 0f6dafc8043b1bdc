"""Programs in pods of a workspace: the token and the CA that they find open their workspace, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kr8s.asyncio
import lightkube
import orjson
import pykube
import pytest
from kubernetes import client
from kubernetes.aio import client as aio_client
from kubernetes.aio.config.incluster_config import InClusterConfigLoader as AioLoader
from kubernetes.config.incluster_config import InClusterConfigLoader
from lightkube.resources.core_v1 import ConfigMap

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from tests.clients.programs import javascript
from tests.clients.side import Side
from tests.e2e.workspaces.installation import CONFIGMAPS, NAMESPACES, Installation
from tests.integration.eventually import eventually

ACCOUNTS = Resource("", "v1", "serviceaccounts")
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings")
MOUNT = "var/run/secrets/kubernetes.io/serviceaccount"
SEEN = ["kube-root-ca.crt", "mine"]


@dataclass(frozen=True, slots=True)
class Pod:
    """What a kubelet lays out for a pod of the account ``robot`` in the namespace ``jobs``."""

    root: Path
    """Its file system."""
    url: str
    """Of kcp, without a workspace."""
    home: str
    """The workspace of the account."""
    elsewhere: str
    """A workspace where the same namespace and account exist, with the same rights."""
    shard: str
    """URL of the shard of both."""

    @property
    def mount(self) -> Path:
        return self.root / MOUNT

    @property
    def token(self) -> str:
        return (self.mount / "token").read_text()

    @property
    def environment(self) -> dict[str, str]:
        host, _, port = self.url.removeprefix("https://").rpartition(":")
        return {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}


async def _populate(workspace: Client) -> None:
    await workspace.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "jobs"}})
    await workspace.create(ACCOUNTS, _named("ServiceAccount", "robot"), "jobs")
    await workspace.create(CONFIGMAPS, _named("ConfigMap", "mine"), "jobs")
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": "jobs"}
    binding = {"apiVersion": BINDINGS.api_version, "kind": "RoleBinding", "metadata": {"name": "robot"}}
    await workspace.create(BINDINGS, {**binding, "roleRef": role, "subjects": [subject]}, "jobs")


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}}


@pytest.fixture
async def pod(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    home, elsewhere = await installation.fresh(), await installation.fresh()
    pod = Pod(tmp_path, installation.url, home, elsewhere, installation.shard.connection.server)
    for path in (home, elsewhere):
        await _populate(installation.client(path))
    workspace = installation.client(home)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    path = "/api/v1/namespaces/jobs/serviceaccounts/robot/token"
    made = await workspace.request("POST", path, body=asked)
    authority = await eventually(lambda: workspace.get(CONFIGMAPS, "kube-root-ca.crt", "jobs"), StatusError)
    pod.mount.mkdir(parents=True)
    (pod.mount / "token").write_text(made["status"]["token"])
    (pod.mount / "ca.crt").write_text(authority["data"]["ca.crt"])
    (pod.mount / "namespace").write_text("jobs")
    for name, value in pod.environment.items():
        monkeypatch.setenv(name, value)
    return pod


def _listed(configuration: Any) -> list[str] | int:
    """Names of the ConfigMaps, or the status of the refusal."""
    try:
        found = client.CoreV1Api(client.ApiClient(configuration)).list_namespaced_config_map("jobs")
    except client.ApiException as raised:
        return int(raised.status)
    return [item.metadata.name for item in found.items]


async def test_official_client(pod: Pod) -> None:
    configuration = client.Configuration()
    InClusterConfigLoader(str(pod.mount / "token"), str(pod.mount / "ca.crt")).load_and_set(configuration)
    assert await asyncio.to_thread(_listed, configuration) == SEEN
    asynchronous = aio_client.Configuration()
    AioLoader(str(pod.mount / "token"), str(pod.mount / "ca.crt")).load_and_set(asynchronous)
    async with aio_client.ApiClient(asynchronous) as api:
        found = await aio_client.CoreV1Api(api).list_namespaced_config_map("jobs")
        assert [item.metadata.name for item in found.items] == SEEN


async def test_token_opens_nothing_else(pod: Pod) -> None:
    def at(url: str) -> Any:
        configuration = client.Configuration(host=url, api_key={"BearerToken": f"Bearer {pod.token}"})
        configuration.verify_ssl = False
        return asyncio.to_thread(_listed, configuration)

    assert await at(f"{pod.url}/clusters/{pod.home}") == SEEN
    for path in (pod.elsewhere, "root", "root:tests", "root:nowhere"):
        assert await at(f"{pod.url}/clusters/{path}") in (401, 403), path
    assert await at(pod.shard) == 401


async def test_other_python_clients(pod: Pod) -> None:
    api = await kr8s.asyncio.api(serviceaccount=str(pod.mount))
    assert [item.name async for item in api.get("configmaps", namespace="jobs") if not isinstance(item, dict)] == SEEN
    light = lightkube.AsyncClient(config=lightkube.KubeConfig.from_service_account(pod.mount))
    assert [item.metadata.name async for item in light.list(ConfigMap) if item.metadata] == SEEN

    def with_pykube() -> list[str]:
        configuration = pykube.KubeConfig.from_service_account(str(pod.mount))
        return [item.name for item in pykube.ConfigMap.objects(pykube.HTTPClient(configuration), namespace="jobs")]

    assert await asyncio.to_thread(with_pykube) == SEEN


async def test_javascript_client(pod: Pod) -> None:
    side = Side("workspace", pod.root / "none", pod.root)
    paths = [f"/clusters/{path}" for path in (pod.home, pod.elsewhere, "root")]
    command = javascript("in_cluster", pod.root)
    outcome = await side.run(*command, str(pod.root), *paths, **pod.environment)
    assert outcome.code == 0, outcome.text
    here, the_same, *others = orjson.loads(outcome.out)
    assert here == the_same == SEEN
    assert all(other in (401, 403) for other in others), others


async def test_authority_is_that_of_the_endpoint(pod: Pod, installation: Installation) -> None:
    """In every namespace, whoever made it."""
    expected = (installation.root / "pki" / "serving-ca.crt").read_text()
    for path, namespace in ((pod.home, "jobs"), (pod.home, "default"), (pod.elsewhere, "jobs"), ("root", "default")):
        found = await installation.client(path).get(CONFIGMAPS, "kube-root-ca.crt", namespace)
        assert found["data"]["ca.crt"] == expected
