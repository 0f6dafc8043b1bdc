"""What is done with all rights: shards write down each request of a kcp that does all that it can do."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest

from proxy.identities import GROUP, Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from proxy.shard.administrator import USER
from proxy.shard.asking import Asking
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.manifests import load_manifests
from proxy.tenancy.api import MOVES, WORKSPACES
from proxy.tenancy.moves import name_of_move
from proxy.workload.api import CLUSTER_LABEL, CLUSTERS, IMPORTS, stamp
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp

CONFIG_MAPS, SECRETS, ACCOUNTS = (Resource("", "v1", plural) for plural in ("configmaps", "secrets", "serviceaccounts"))
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
ROLE_BINDINGS = Resource(ROLES.group, "v1", "rolebindings")
POLICIES, BINDINGS = (
    Resource("admissionregistration.k8s.io", "v1", f"validatingadmission{plural}", namespaced=False)
    for plural in ("policies", "policybindings")
)
WIDGETS = Resource("example.com", "v1", "widgets")
AUDIT = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"

PREPARING = [
    r"get /(version|readyz.*)",
    r"get /apis/admissionregistration\.k8s\.io/(v1|v1beta1|v1alpha1)",
    r"create /api/v1/namespaces\?dryRun=All",
    r"create /apis/authorization\.k8s\.io/v1/subjectaccessreviews",
    r"list /apis/(.*\.)?kcp\.dev/.*\?limit=1",
    r"list /apis/0kcpadmissionkcp\.admissionregistration\.k8s\.io/v1/[a-z]+\?limit=1",
    # After a start: which CRDs are known, and that the server is to read the workspaces.
    r"get /apis/((.*\.)?kcp\.dev|0kcpadmissionkcp\.admissionregistration\.k8s\.io)/v[0-9a-z]+",
    r"get /apis/internal\.kcp\.dev/v1alpha1/logicalclusters/none",
    # On which shard root is, is asked of shards that may not be prepared.
    r"list /apis/internal\.kcp\.dev/v1alpha1/logicalclusters\?limit=500&fieldSelector=spec\.path=root",
    # kcp doctor: whether the kubeconfig is good for all that.
    r"create /apis/authorization\.k8s\.io/v1/selfsubjectaccessreviews",
    *(
        rf"(get|patch) {re.escape(manifest.resource.path(name=manifest.name).replace('%3A', ':'))}(\?.*)?"
        for manifest in (*load_manifests(), *Asking("https://unused").manifests())
    ),
    *(f"create {re.escape(manifest.resource.path())}" for manifest in load_manifests() if manifest.is_kubernetes_own),
]
"""All that is done to a shard in the name of who may do everything, and does not say for whom."""
WORKSPACE_USER = re.compile(r"(system:serviceaccount:)?k[a-z2-7]{8}-")


class Asked(NamedTuple):
    """A request, as a shard has written it down."""

    what: str
    """Verb, path and query."""
    who: str
    acting_as: str
    """Empty: itself."""
    code: int


def asked(folder: Path) -> Iterator[Asked]:
    for file in folder.glob("*.audit"):
        for event in map(json.loads, file.read_text().splitlines()):
            yield Asked(
                f"{event['verb']} {unquote(event['requestURI'])}",
                event["user"].get("username", ""),
                event.get("impersonatedUser", {}).get("username", ""),
                (event.get("responseStatus") or {}).get("code", 0),
            )


def audited(folder: Path, name: str) -> ControlPlane:
    policy = folder / "policy.yaml"
    policy.write_text(AUDIT)
    args = (f"--audit-policy-file={policy}", f"--audit-log-path={folder / name}.audit")
    return ControlPlane(ControlPlaneSettings(folder=folder / name, durable=False, apiserver_args=args))


@pytest.fixture(scope="module")
async def lived(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The folder of what shards ``us`` and ``eu`` have written down of a kcp's life."""
    folder = tmp_path_factory.mktemp("privileged")
    async with audited(folder, "us") as us, audited(folder, "eu") as eu:
        for shard in (us, eu):
            async with shard.client() as client:
                await bootstrap(client)  # nobody asks before, and is refused
        port = free_port()
        options = ["--no-embedded", "--workers", "1", "--admission-url", f"https://127.0.0.1:{port}"]
        options += ["--workspace-objects", "90"]  # so few that a workspace is counted before anybody else makes one
        for name, shard in (("us", us), ("eu", eu)):
            options += ["--shard", f"{name}={shard.kubeconfig}"]
        async with Kcp(folder / "kcp", *options, port=port, metrics="127.0.0.1:0") as kcp:
            await live(kcp)
        yield folder


async def live(kcp: Kcp) -> None:
    """Something of everything that makes kcp act on a shard."""
    await kcp.make_workspace("root", "tests", "Organization")
    await kcp.make_workspace("root:tests", "cluster", "Cluster", shard="us")
    await kcp.make_workspace("root:tests", "team", shard="eu")
    async with kcp.client("root:tests:cluster") as cluster:
        with pytest.raises(StatusError, match="not found"):
            await cluster.request("GET", "/api/v1/namespaces/default/pods/none/log")
    async with kcp.client("root:tests:team") as team:
        await account(team)
        await roles(team)
        await policy(team)
        await workloads(team)
    for command in (("doctor",), ("top", "--once")):
        await run_kcp(*command, "--root-directory", str(kcp.root))
    code, _, errors = await run_kcp("shard", "move", "root:tests:team", "us", "--root-directory", str(kcp.root))
    assert code == 0, errors
    async with kcp.client("root") as root:
        assert (await root.get(MOVES, name_of_move("root:tests:team")))["status"]["phase"] == "Completed"
    async with kcp.client("root:tests") as tests:
        await tests.delete(WORKSPACES, "team")

        async def gone() -> bool:
            return await tests.find(WORKSPACES, "team") is None

        await eventually(gone, timeout=90)


async def account(team: Client) -> None:
    """A Secret with a token, which opens the workspace."""
    about = {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "default"}}
    kind = "kubernetes.io/service-account-token"
    await team.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": kind}, "default")

    async def filled() -> str:
        return str(((await team.get(SECRETS, "robot", "default")).get("data") or {}).get("token", ""))

    token = await eventually(filled)
    async with Client(replace(team.connection, token=base64.b64decode(token).decode())) as robot:
        assert await robot.request("GET", "/api")
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": "default"}
        role = {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": "edit"}
        await team.create(
            ROLE_BINDINGS, named(ROLE_BINDINGS, "RoleBinding", "robot", roleRef=role, subjects=[subject]), "default"
        )
        made = named(CONFIG_MAPS, "ConfigMap", "made")
        await eventually(lambda: robot.create(CONFIG_MAPS, made, "default"), StatusError)


async def roles(team: Client) -> None:
    """One that is put together of others."""
    label = {"to": "whole"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    part = named(ROLES, "ClusterRole", "part", rules=rules)
    part["metadata"]["labels"] = label
    whole = named(ROLES, "ClusterRole", "whole", aggregationRule={"clusterRoleSelectors": [{"matchLabels": label}]})
    await team.create(ROLES, part)
    await team.create(ROLES, whole)

    async def filled() -> bool:
        return bool((await team.get(ROLES, "whole")).get("rules") == rules)

    await eventually(filled)


async def policy(team: Client) -> None:
    """One with parameters."""
    await team.create(CONFIG_MAPS, {**named(CONFIG_MAPS, "ConfigMap", "limits"), "data": {"most": "1"}}, "default")
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.metadata.name != 'refused' || params.data.most != '1'"}],
    }
    await team.create(POLICIES, named(POLICIES, "ValidatingAdmissionPolicy", "few", spec=spec))
    parameters = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    binding = {"policyName": "few", "paramRef": parameters, "validationActions": ["Deny"]}
    await team.create(BINDINGS, named(BINDINGS, "ValidatingAdmissionPolicyBinding", "few", spec=binding))

    async def acts() -> bool:
        body = named(CONFIG_MAPS, "ConfigMap", "refused")
        try:
            await team.request("POST", CONFIG_MAPS.path("default"), body=body, params={"dryRun": "All"})
        except StatusError as error:
            return error.code == 422
        return False

    await eventually(acts)


async def workloads(team: Client) -> None:
    """A cluster that brings a type; a namespace that runs there, with something in it; and its end."""
    cluster = await eventually(
        lambda: team.create(CLUSTERS, named(CLUSTERS, "WorkloadCluster", "east", spec={})), StatusError
    )
    await team.patch(CLUSTERS, "east", {"status": {"lastSyncerHeartbeatTime": stamp()}}, subresource="status")
    schema = {"type": "object"}
    spec = {
        "location": "east", "groupVersion": {"group": "example.com", "version": "v1"}, "scope": "Namespaced",
        "plural": "widgets", "kind": "Widget", "openAPIV3Schema": schema,
    }  # fmt: skip
    brought = named(IMPORTS, "APIResourceImport", "widgets.east.v1.example.com", spec=spec)
    owner = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "name": "east"}
    brought["metadata"]["ownerReferences"] = [owner | {"uid": cluster["metadata"]["uid"]}]
    await team.create(IMPORTS, brought)
    await eventually(lambda: team.create(WIDGETS, named(WIDGETS, "Widget", "w"), "default"), StatusError)

    async def labelled() -> bool:
        found = await team.get(WIDGETS, "w", "default")
        return (found["metadata"].get("labels") or {}).get(CLUSTER_LABEL) == "east"

    await eventually(labelled)
    await team.delete(CLUSTERS, "east")

    async def gone() -> bool:
        return await team.find(CLUSTERS, "east") is None

    await eventually(gone)


def named(resource: Resource, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, **rest}


async def test_nothing_but_a_shard_is_prepared_with_all_rights(lived: Path) -> None:
    own = {request.what for request in asked(lived) if request.who == USER and not request.acting_as}
    assert any("/readyz" in what for what in own), "it is written down"
    assert sorted(what for what in own if not any(re.fullmatch(known, what) for known in PREPARING)) == []


async def test_everybody_else_is_a_part_of_kcp_or_a_user_of_a_workspace(lived: Path) -> None:
    actors = {request.acting_as for request in asked(lived) if request.who == USER and request.acting_as}
    parts = {name for name in actors if name.startswith(f"{GROUP}:")}
    assert {name for name in actors - parts if not WORKSPACE_USER.match(name)} == set()
    # All of them; but for kcp syncer, which does not run here.
    assert parts == {identity.user for identity in Identity if identity is not Identity.PUSHING}


async def test_no_part_is_refused_what_it_asks(lived: Path) -> None:
    refused = {
        f"{request.acting_as}: {request.what}"
        for request in asked(lived)
        if request.acting_as.startswith(f"{GROUP}:") and request.code == 403
    }
    assert refused == set()
