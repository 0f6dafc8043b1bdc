"""Two users, a workspace for each, and limits for both: a kcp for tests of what a workspace may do and have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from proxy.kube.client import Client, Resource
from tests.integration.kcp_process import Kcp

RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
USERS = {"noisy": "noisy-token", "quiet": "quiet-token"}
"""And their tokens."""


@asynccontextmanager
async def limited_kcp(folder: Path, *flags: str) -> AsyncIterator[Kcp]:
    """Each of `USERS` administers ``root:telcops:NAME``; ``limits.yaml`` beside the kcp's folder is followed."""
    (folder / "limits.yaml").write_text("workspaces: []\n")
    options = [*flags, f"--workspace-limits-file={folder / 'limits.yaml'}", with_users(folder)]
    async with Kcp(folder / ".kcp", *options, metrics="127.0.0.1:0") as kcp:
        await kcp.make_workspace("root", "telcops", "Organization")
        for name in USERS:
            await kcp.make_workspace("root:telcops", name)
            async with kcp.client("root:telcops") as parent:
                await administers(parent, name)
        yield kcp


def with_users(folder: Path) -> str:
    """The flag of `kcp start` that makes `USERS` known."""
    tokens = folder / "tokens.csv"
    tokens.write_text("".join(f"{token},{name},{name}\n" for name, token in USERS.items()))
    return f"--token-auth-file={tokens}"


async def administers(parent: Client, name: str) -> None:
    content = {"apiGroups": ["tenancy.kcp.dev"], "resources": ["clusterworkspaces/content"], "verbs": ["admin"]}
    await parent.create(ROLES, {"metadata": {"name": name}, "rules": [{**content, "resourceNames": [name]}]})
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": name}]
    await parent.create(BINDINGS, {"metadata": {"name": name}, "roleRef": role, "subjects": subjects})


async def metric(kcp: Kcp, name: str) -> float:
    url = (kcp.root / "run" / "metrics").read_text().strip()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        lines = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if not line.startswith("#"))
    return float(lines[name])
