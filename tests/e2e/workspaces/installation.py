"""A running kcp and its users, as the tests of this folder see them."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from proxy.binaries import find
from proxy.kube.client import Client, Resource
from proxy.kube.config import load_kubeconfig

WORKSPACES = Resource("tenancy.kcp.dev", "v1beta1", "workspaces", namespaced=False)
LOGICAL_CLUSTERS = Resource("internal.kcp.dev", "v1alpha1", "logicalclusters", namespaced=False)
CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
SECRETS = Resource("", "v1", "secrets")

USERS = {"alice": "alice-token", "bob": "bob-token"}
TOKEN_FILE = 'alice-token,alice,2,"dev,ops"\nbob-token,bob,3\n'

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a command."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


class Installation:
    """``client`` and ``kubectl`` act as the administrator unless told otherwise."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.admin: dict[str, Any] = yaml.safe_load((root / "admin.kubeconfig").read_text())
        self.shard = Client(load_kubeconfig(root / "shard" / "admin.kubeconfig"))
        self._clients: list[Client] = [self.shard]
        server: str = self.admin["clusters"][0]["cluster"]["server"]
        self.url = server.partition("/clusters/")[0]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()

    @property
    def admin_token(self) -> str:
        token: str = self.admin["users"][0]["user"]["token"]
        return token

    def config(self, path: str, token: str | None = None) -> dict[str, Any]:
        """A kubeconfig for the workspace at ``path``."""
        cluster = dict(self.admin["clusters"][0]["cluster"], server=f"{self.url}/clusters/{path}")
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token or self.admin_token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "current-context": "here",
        }

    def client(self, path: str, token: str | None = None) -> Client:
        client = Client(load_kubeconfig(self.config(path, token)))
        self._clients.append(client)
        return client

    def kubeconfig(self, path: str, token: str | None = None) -> Path:
        """The same in a file of its own, which the plugins may change."""
        file = self.folder / f"kubeconfig-{next(_numbers)}"
        file.write_text(yaml.safe_dump(self.config(path, token)))
        file.chmod(0o600)
        return file

    async def create(self, parent: str, name: str, kind: str = "Universal", token: str | None = None) -> str:
        """Make a workspace and wait until it is Ready; its path."""
        client = self.client(parent, token)
        body = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
        made = await client.create(WORKSPACES, {**body, "spec": {"type": kind}})
        async with asyncio.timeout(60):
            while (made.get("status") or {}).get("phase") != "Ready":
                await asyncio.sleep(0.02)
                made = await client.get(WORKSPACES, name)
        return f"{parent}:{name}"

    async def fresh(self, kind: str = "Universal") -> str:
        """A new workspace that nobody else uses."""
        return (
            await self.create("root", f"org-{next(_numbers)}", "Organization")
            if kind == "Organization"
            else (await self.create("root:tests", f"ws-{next(_numbers)}", kind))
        )

    async def token_of(self, path: str) -> str:
        """What the names of a workspace begin with on the shard."""
        for item in (await self.shard.list(LOGICAL_CLUSTERS))["items"]:
            if item["spec"]["path"] == path:
                return str(item["metadata"]["name"])
        raise AssertionError(f"no logical cluster for {path}")

    async def run(self, *command: str | Path, kubeconfig: Path, stdin: str | None = None) -> Outcome:
        """A program with the plugins on its PATH."""
        path = os.pathsep.join([str(Path(sys.executable).parent), str(find("kubectl").parent), os.environ["PATH"]])
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig), "HOME": str(self.folder)},
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    async def kubectl(self, path: str, *arguments: str, token: str | None = None, stdin: str | None = None) -> Outcome:
        return await self.run(find("kubectl"), *arguments, kubeconfig=self.kubeconfig(path, token), stdin=stdin)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        token: str | None = "",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """A request as it is written here, ``path`` from the server's root; token None: anonymous."""
        from yarl import URL

        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.admin_token}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, URL(self.url + path, encoded=True), data=body, headers=sent, ssl=False, allow_redirects=False
            ) as answer,
        ):
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read()
