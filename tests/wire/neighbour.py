"""A workspace beside those of the tests, full of names that nobody else may ever see.

Each name (`tests.wire.tap.CANARY`) says whose it is, so that the tap in any worker knows a leak when it sees one.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.wire.monitor import Wire
from tests.wire.tap import owner_of

PARENT, NAME = "root:default", "neighbour"
PATH = f"{PARENT}:{NAME}"
RBAC = "rbac.authorization.k8s.io"
REGISTRATIONS = "admissionregistration.k8s.io"
CONFIG_MAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)


def canary(path: str = PATH) -> str:
    """A name of the workspace at ``path``."""
    return f"canary-{owner_of(path)}-{secrets.token_hex(4)}"


async def settle(kcp: Kcp) -> None:
    """Make the neighbour of all other workspaces of ``kcp``, until all is there."""
    await kcp.make_workspace(PARENT, NAME, "Cluster")
    async with kcp.client(PATH) as client:
        place = canary()
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place}})
        await asyncio.gather(*(client.create(resource, obj, place) for resource, obj in _objects()))
        await _custom(client, place)


def _object(resource: Resource, kind: str, **rest: Any) -> Object:
    meta = {"name": canary(), "labels": {canary(): canary()}, "annotations": {canary(): canary()}}
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, **rest}


def _objects() -> list[tuple[Resource, Object]]:
    roles, bindings = whole("clusterroles", RBAC), whole("clusterrolebindings", RBAC)
    policies = whole("validatingadmissionpolicies", REGISTRATIONS)
    selected = {"app": canary()}
    template: Object = {
        "metadata": {"labels": selected},
        "spec": {"containers": [{"name": canary(), "image": canary()}]},
    }
    rule = {"apiGroups": [canary()], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [canary()]}
    return [
        (CONFIG_MAPS, _object(CONFIG_MAPS, "ConfigMap", data={canary(): canary()})),
        (of("secrets"), _object(of("secrets"), "Secret", stringData={canary(): canary()})),
        (of("serviceaccounts"), _object(of("serviceaccounts"), "ServiceAccount")),
        (of("services"), _object(of("services"), "Service", spec={"ports": [{"port": 80}], "selector": selected})),
        (of("pods"), _object(of("pods"), "Pod", spec=template["spec"])),
        (of("deployments", "apps"), _object(of("deployments", "apps"), "Deployment", spec={
            "selector": {"matchLabels": selected}, "template": template,
        })),
        (of("leases", "coordination.k8s.io"), _object(of("leases", "coordination.k8s.io"), "Lease",
                                                      spec={"holderIdentity": canary()})),
        (roles, _object(roles, "ClusterRole", rules=[
            {"apiGroups": [canary()], "resources": [canary()], "resourceNames": [canary()], "verbs": ["get"]},
        ])),
        (bindings, _object(bindings, "ClusterRoleBinding",
            roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": canary()},
            subjects=[{"apiGroup": RBAC, "kind": "User", "name": canary()},
                      {"apiGroup": RBAC, "kind": "Group", "name": canary()}],
        )),
        (policies, _object(policies, "ValidatingAdmissionPolicy", spec={
            "matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true", "message": canary()}],
        })),
        *((resource, _object(resource, kind, **rest)) for resource, kind, rest in (
            (whole("storageclasses", "storage.k8s.io"), "StorageClass", {"provisioner": canary()}),
            (whole("priorityclasses", "scheduling.k8s.io"), "PriorityClass", {"value": 1, "description": canary()}),
        )),
    ]  # fmt: skip


def of(plural: str, group: str = "") -> Resource:
    return Resource(group, "v1", plural)


def whole(plural: str, group: str) -> Resource:
    return Resource(group, "v1", plural, namespaced=False)


async def _custom(client: Client, place: str) -> None:
    """A type of its own, which its workspace alone has."""
    group, plural = f"{canary()}.example.com", canary()
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "description": canary()}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    kind = "Canary"
    names = {"plural": plural, "singular": canary(), "kind": kind, "listKind": f"{kind}List", "shortNames": [canary()]}
    crd = {
        "apiVersion": CRDS.api_version, "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }  # fmt: skip
    await client.create(CRDS, crd)
    resource = Resource(group, "v1", plural)
    await eventually(lambda: client.create(resource, _object(resource, kind), place), StatusError)


async def finds_a_planted_leak(wire: Wire, client: Client, other: str, token: str) -> None:
    """Whether what a client is sent is looked at here: it finds, in its own workspace, names of the one at ``other``
    and that one's ``token`` on the shard."""
    assert wire.noted() == []
    planted = {"name": canary(other), "token": token}
    meta = {"name": "planted", "namespace": "default"}
    await client.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": planted})
    assert wire.noted() == [], "an answer may repeat its request"
    listed = await client.request("GET", CONFIG_MAPS.path("default"))
    assert planted in [item.get("data") for item in listed["items"]]
    found = wire.noted()
    assert any("a name of another workspace in body" in note for note in found), found
    assert any(f"the token of {other} in body" in note for note in found), found
    await client.delete(CONFIG_MAPS, "planted", "default")
    wire.noted()  # what follows the deletion


async def token_of(shard: Client, path: str) -> str:
    """Of the workspace at ``path``, as its shard tells the administrator."""
    resource = Resource("internal.kcp.dev", "v1alpha1", "logicalclusters", namespaced=False)
    found = (await shard.list(resource, field_selector=f"spec.path={path}"))["items"]
    return str(found[0]["metadata"]["name"])
