"""The two workspaces: what the victim has, who the attacker is, and what no answer may ever hold."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, NAMESPACES, SECRETS, Installation
from tests.integration.eventually import eventually

RBAC = "rbac.authorization.k8s.io"
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
CLUSTER_ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
ROLE_BINDINGS = Resource(RBAC, "v1", "rolebindings")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
JEWELS = Resource("bank.example.com", "v1", "jewels")
ATTACKER = "mallory"
ATTACKER_TOKEN = "mallory-token"
USERS = f"{ATTACKER_TOKEN},{ATTACKER},13\nvictim-token,victim,14\n"
JSON = "application/json"

VICTIM = "root:victims:bank"
QUIET = "root:victims:quiet"
DEN = "root:raiders:den"
CANARY = "canary" + secrets.token_hex(12)
"""Stands in the victim's objects, in values and in names, and must never come back to the attacker."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To one try."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def reason(self) -> str:
        """Of a Status; empty for anything else."""
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        return str(value.get("reason") or "") if isinstance(value, dict) and value.get("kind") == "Status" else ""


@dataclass(slots=True)
class Ground:
    """``ask`` is how the attacker speaks; each answer is searched for what is the victim's."""

    kcp: Installation
    token: str
    """The victim's token on the shard, which the attacker is assumed to know, as well as all names and uids."""
    quiet_token: str
    """Of a second victim, with the same things, which the attacker knows nothing of: it must never be heard."""
    den_token: str
    uids: dict[str, str] = field(default_factory=dict)
    robot: str = ""
    """A token of a service account of the victim's."""
    raider: str = ""
    """A token of a service account of the attacker's workspace, which is cluster-admin there."""

    @property
    def prefix(self) -> str:
        return f"{self.token}-"

    @property
    def den(self) -> Client:
        """As the attacker, at home."""
        return self.kcp.client(DEN, ATTACKER_TOKEN)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        workspace: str = DEN,
        token: str | None = ATTACKER_TOKEN,
        content_type: str = JSON,
        **headers: str,
    ) -> Answer:
        """A request below the attacker's workspace (with ``workspace=""`` of the server); header names have _ for -."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            sent["Content-Type"] = content_type
        place = f"/clusters/{workspace}{path}" if workspace else path
        status, got, answer = await self.kcp.raw(method, place, token=token, body=data, headers=sent)
        return self.checked(Answer(status, got, answer))

    def checked(self, answer: Answer) -> Answer:
        """Whatever was asked: neither what the victims wrote nor the token that nobody told comes back."""
        told = json.dumps(answer.headers).encode() + answer.body
        assert CANARY.encode() not in told, told[:2000]
        assert self.quiet_token.encode() not in told, told[:2000]
        return answer

    async def raw(self, data: bytes, *, timeout: float = 3.0) -> bytes:
        """Bytes as they are to the server's socket; all that it says until it closes or falls silent."""
        url = urlsplit(self.kcp.url)
        tls = Connection(self.kcp.url, insecure=True).ssl_context()
        reader, writer = await asyncio.open_connection(url.hostname, url.port, ssl=tls)
        said = b""
        try:
            writer.write(data)
            async with asyncio.timeout(timeout):
                while piece := await reader.read(65536):
                    said += piece
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()
        self.checked(Answer(0, {}, said))
        return said

    async def inventory(self) -> dict[str, Any]:
        """Spec and data of every object on the shard that is not the attacker's, by path."""
        shard = self.kcp.shard
        found: dict[str, Any] = {}
        groups = [
            group["preferredVersion"]["groupVersion"] for group in (await shard.request("GET", "/apis"))["groups"]
        ]
        for path in ("/api/v1", *(f"/apis/{group}" for group in groups)):
            try:
                listed = await shard.request("GET", path)
            except StatusError:
                continue  # a group that has just gone
            for entry in listed["resources"]:
                if "/" in entry["name"] or "list" not in entry["verbs"] or entry["name"] in RESTLESS:
                    continue
                for item in (await shard.request("GET", f"{path}/{entry['name']}"))["items"] or []:
                    meta = item["metadata"]
                    place = f"{meta.get('namespace', '')}/{meta['name']}"
                    if not any(token in json.dumps(item) for token in (self.den_token, DEN, "raiders")):
                        found[f"{path}/{entry['name']}/{place}"] = _kept(item)
        return found


RESTLESS = frozenset(
    {
        "leases",
        "events",
        "apiservices",
        "flowschemas",
        "prioritylevelconfigurations",
        "componentstatuses",
        "endpointslices",
        "endpoints",
        "storageversions",
        "ipaddresses",
    }
)
"""What a shard writes by itself all the time."""


def _kept(item: Object) -> Object:
    """What does not change by itself: CRDs' conditions and the like do."""
    meta = {key: item["metadata"].get(key) for key in ("name", "labels", "ownerReferences", "deletionTimestamp")}
    return {"metadata": meta} | {key: value for key, value in item.items() if key not in ("metadata", "status")}


def crd(group: str, plural: str, kind: str, scope: str = "Namespaced", **metadata: Any) -> Object:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": plural, "singular": plural.rstrip("s"), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", **metadata},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [version]},
    }


async def service_account_token(client: Client, name: str) -> str:
    path = f"/api/v1/namespaces/default/serviceaccounts/{name}/token"
    made = await client.request("POST", path, body={"spec": {}})
    return str(made["status"]["token"])


async def lay(kcp: Installation) -> Ground:
    """Make both workspaces and fill them."""
    await kcp.create("root", "victims", "Organization")
    await kcp.create("root", "raiders", "Organization")
    for path in (VICTIM, QUIET, DEN):
        parent, _, name = path.rpartition(":")
        await kcp.create(parent, name)
    victim, quiet, den = [await kcp.token_of(path) for path in (VICTIM, QUIET, DEN)]
    ground = Ground(kcp, victim, quiet, den)
    await _arm(kcp)
    await _fill(kcp.client(QUIET))
    ground.uids = await _fill(kcp.client(VICTIM))
    ground.robot = await service_account_token(kcp.client(VICTIM), "robot")
    ground.raider = await service_account_token(ground.den, "raider")
    return ground


async def _arm(kcp: Installation) -> None:
    """Mallory administers the den, and enters nothing else."""
    parent = kcp.client("root:raiders")
    rule = {"apiGroups": ["tenancy.kcp.dev"], "resources": ["clusterworkspaces/content"], "resourceNames": ["den"]}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "den"}
    who = {"apiGroup": RBAC, "kind": "User", "name": ATTACKER}
    await parent.create(CLUSTER_ROLES, {"metadata": {"name": "den"}, "rules": [{**rule, "verbs": ["admin"]}]})
    await parent.create(CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "den"}, "subjects": [who], "roleRef": role})
    den = kcp.client(DEN, ATTACKER_TOKEN)
    await eventually(lambda: den.list(NAMESPACES), StatusError)
    await den.create(SERVICE_ACCOUNTS, {"metadata": {"name": "raider"}}, "default")
    admin = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"}
    raider = {"kind": "ServiceAccount", "name": "raider", "namespace": "default"}
    await den.create(CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "raider"}, "subjects": [raider], "roleRef": admin})


async def _fill(victim: Client) -> dict[str, str]:
    """Uids of what was made, by name."""
    await victim.create(NAMESPACES, {"metadata": {"name": "vault", "labels": {"owner": CANARY}}})
    data = {"k": CANARY}
    marked: dict[str, Any] = {"annotations": {"c": CANARY}}
    ledger = {"metadata": {"name": "ledger", "labels": {"c": CANARY}}, "data": data}
    made = [
        await victim.create(CONFIGMAPS, ledger, "vault"),
        await victim.create(SECRETS, {"metadata": {"name": "key", **marked}, "stringData": data}, "vault"),
        await victim.create(CLUSTER_ROLES, {"metadata": {"name": "teller", **marked}, "rules": []}),
        await victim.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot", **marked}}, "default"),
        await victim.create(CRDS, crd("bank.example.com", "jewels", "Jewel", **marked)),
    ]
    jewel = {"apiVersion": "bank.example.com/v1", "kind": "Jewel", "metadata": {"name": "crown"}, "worth": CANARY}
    await eventually(lambda: victim.create(JEWELS, jewel, "vault"), StatusError, timeout=60)
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in made}
