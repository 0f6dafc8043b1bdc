"""The two servers: a kube-apiserver as a shard is, without anything of kcp, and a workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.shard.commands import SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.differential.kinds import GADGETS, RBAC, WIDGETS
from tests.differential.sides import Side
from tests.differential.step import GUEST, MASTER
from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import Kcp
from tests.wire.neighbour import settle

TOKENS = {MASTER: "master-token", GUEST: "guest-token"}
TOKEN_FILE = 'master-token,master,1,"system:masters"\nguest-token,guest,2,"dev"\n'
GUEST_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch", "create"]},
    {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["x"], "verbs": ["get"]},
    {"apiGroups": ["example.com"], "resources": ["widgets", "gadgets"], "verbs": ["*"]},
    {"apiGroups": [RBAC], "resources": ["roles"], "verbs": ["create", "update", "patch", "get"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]},
]
ENTRY = [{"apiGroups": ["tenancy.kcp.dev"], "resources": ["clusterworkspaces/content"], "verbs": ["access"]}]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
READY_WITHIN = 30.0


@asynccontextmanager
async def two_sides(folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Started, with the same users, rights and custom resources."""
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKEN_FILE)
    tokens.chmod(0o600)
    flags = (f"--token-auth-file={tokens}",)
    controllers = (*SHARD_CONTROLLERS, "clusterrole-aggregation-controller", "resourcequota-controller")
    settings = ControlPlaneSettings(folder=folder / "plain", durable=False, controllers=controllers)
    kcp = Kcp(folder / ".kcp", *flags)
    async with AsyncExitStack() as stack:
        plane = ControlPlane(settings)
        with plane.pki.administrator.file.open("a") as known:  # a kube-apiserver reads one file
            known.write(TOKEN_FILE)
        await asyncio.gather(stack.enter_async_context(plane), stack.enter_async_context(kcp))
        await settle(kcp)
        installation = Installation(kcp.root, folder)
        stack.push_async_callback(installation.close)
        parent = await installation.create("root", "differential", "Organization")
        path = await installation.create(parent, "one", "Cluster")
        sides = (
            Side("plain", plane.server, TOKENS),
            Side("workspace", f"{installation.url}/clusters/{path}", TOKENS),
        )
        entrance = Side("parent", f"{installation.url}/clusters/{parent}", TOKENS)
        for side in (*sides, entrance):
            stack.push_async_callback(side.close)
        await _grant(entrance, "guests", ENTRY)
        await asyncio.gather(*(_furnish(side) for side in sides))
        yield sides


async def _furnish(side: Side) -> None:
    await _grant(side, "guests", GUEST_RULES)
    for crd in (WIDGETS, GADGETS):
        await side.send("POST", CRDS, crd)
    for resource in ("widgets", "gadgets"):
        body = {"metadata": {"name": "probe"}, "apiVersion": "example.com/v1", "spec": {"size": 1}}
        body["kind"] = resource[:-1].capitalize()
        path = f"/apis/example.com/v1/{resource if resource == 'gadgets' else 'namespaces/default/widgets'}"

        async def made(path: str = path, body: dict[str, Any] = body) -> bool:
            return (await side.send("POST", path, body)).status == 201

        await until(made, f"{resource} of {side.name}")
        await side.send("DELETE", f"{path}/probe")
    attributes = {"verb": "get", "resource": "configmaps", "namespace": "default"}
    asked = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
             "spec": {"user": "guest", "groups": ["dev"], "resourceAttributes": attributes}}  # fmt: skip

    async def allowed() -> bool:
        answer = await side.send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", asked)
        return bool(answer.json()["status"]["allowed"])

    await until(allowed, f"rights of {side.name}")


async def _grant(side: Side, name: str, rules: list[dict[str, Any]]) -> None:
    root = f"/apis/{RBAC}/v1"
    await side.send("POST", f"{root}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": "guest"}],
    }
    await side.send("POST", f"{root}/clusterrolebindings", binding)


async def until(true: Callable[[], Awaitable[bool]], what: str, within: float = READY_WITHIN) -> None:
    """Raises TimeoutError."""
    try:
        async with asyncio.timeout(within):
            while not await true():  # noqa: ASYNC110
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {within:.0f} s") from None
