"""What was allowed a moment ago, to the same request on the same connection, is not allowed once it no longer is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, USERS, WORKSPACES, Installation
from tests.e2e.workspaces.test_access import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    RBAC,
    ROLE_BINDINGS,
    ROLES,
    entry,
    grant_cluster,
    subject,
)
from tests.integration.eventually import eventually

BOB = subject("User", "bob")
READ = [{"apiGroups": ["", "example.com"], "resources": ["configmaps", "widgets"], "verbs": ["get", "list"]}]
WIDGETS = Resource("example.com", "v1", "widgets")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
SOON = 5.0
"""Seconds: less than a decision may last."""


async def readable(kcp: Installation) -> tuple[str, Client]:
    """A workspace with ConfigMap ``one``, and bob's connection to it: he may enter, and read in all namespaces."""
    path = await kcp.fresh()
    name = path.rpartition(":")[2]
    await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), BOB)
    await grant_cluster(kcp, path, "read", READ, BOB)
    await kcp.client(path).create(CONFIGMAPS, {"metadata": {"name": "one"}, "data": {"of": path}}, "default")
    return path, kcp.client(path, USERS["bob"])


async def again_and_again(read: Callable[[], Awaitable[Any]]) -> None:
    """Until the answer comes by a decision that stands."""
    await eventually(read, StatusError)
    for _ in range(5):
        await read()


async def refused(read: Callable[[], Awaitable[Any]], code: int) -> None:
    async def said() -> bool:
        try:
            await read()
        except StatusError as error:
            return error.code == code
        return False

    await eventually(said, timeout=SOON, interval=0.02)


async def test_a_binding_is_deleted(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    await again_and_again(lambda: bob.list(CONFIGMAPS, "default"))
    await kcp.client(path).delete(CLUSTER_ROLE_BINDINGS, "read")
    await refused(lambda: bob.get(CONFIGMAPS, "one", "default"), 403)
    await refused(lambda: bob.list(CONFIGMAPS, "default"), 403)


async def test_others_beside_what_was_read(kcp: Installation) -> None:
    """What stands for all objects of a namespace ends as what stands for one."""
    path, bob = await readable(kcp)
    for name in ("two", "three"):
        await kcp.client(path).create(CONFIGMAPS, {"metadata": {"name": name}, "data": {"of": name}}, "default")
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    assert (await bob.get(CONFIGMAPS, "two", "default"))["data"] == {"of": "two"}
    await refused(lambda: bob.get(CONFIGMAPS, "four", "default"), 404)
    await kcp.client(path).delete(CLUSTER_ROLE_BINDINGS, "read")
    await refused(lambda: bob.get(CONFIGMAPS, "three", "default"), 403)


async def test_others_beside_what_alone_may_be_read(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    admin = kcp.client(path)
    await admin.create(CONFIGMAPS, {"metadata": {"name": "two"}}, "default")
    await admin.patch(CLUSTER_ROLES, "read", {"rules": [{**READ[0], "verbs": ["get"], "resourceNames": ["one"]}]})
    await refused(lambda: bob.list(CONFIGMAPS, "default"), 403)
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    for _ in range(3):
        with pytest.raises(StatusError, match='cannot get resource "configmaps"'):
            await bob.get(CONFIGMAPS, "two", "default")
        await bob.get(CONFIGMAPS, "one", "default")


async def test_a_role_of_the_namespace_loses_its_verb(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    admin = kcp.client(path)
    await admin.delete(CLUSTER_ROLE_BINDINGS, "read")
    await refused(lambda: bob.get(CONFIGMAPS, "one", "default"), 403)
    await admin.create(ROLES, {"metadata": {"name": "read"}, "rules": READ}, "default")
    role = {"apiGroup": RBAC, "kind": "Role", "name": "read"}
    await admin.create(ROLE_BINDINGS, {"metadata": {"name": "read"}, "subjects": [BOB], "roleRef": role}, "default")
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    await admin.patch(ROLES, "read", {"rules": [{**READ[0], "verbs": ["list"]}]}, "default")
    await refused(lambda: bob.get(CONFIGMAPS, "one", "default"), 403)


async def test_the_entry_is_closed(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    name = path.rpartition(":")[2]
    await kcp.client("root:tests").delete(CLUSTER_ROLES, f"enter-{name}")
    await refused(lambda: bob.get(CONFIGMAPS, "one", "default"), 403)


async def test_the_type_goes(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    admin = kcp.client(path)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    await admin.create(CRDS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}}
    await eventually(lambda: admin.create(WIDGETS, widget, "default"), StatusError)
    await again_and_again(lambda: bob.get(WIDGETS, "one", "default"))
    await admin.delete(CRDS, "widgets.example.com")
    await refused(lambda: bob.get(WIDGETS, "one", "default"), 404)


async def test_the_workspace_is_another_one(kcp: Installation) -> None:
    path, bob = await readable(kcp)
    await again_and_again(lambda: bob.get(CONFIGMAPS, "one", "default"))
    name = path.rpartition(":")[2]
    await kcp.client("root:tests").delete(WORKSPACES, name)
    await eventually(lambda: kcp.create("root:tests", name), StatusError, timeout=30)
    await kcp.client(path).create(CONFIGMAPS, {"metadata": {"name": "one"}, "data": {"of": "the new one"}}, "default")
    await refused(lambda: bob.get(CONFIGMAPS, "one", "default"), 403)
    await grant_cluster(kcp, path, "read", READ, BOB)
    found = await eventually(lambda: bob.get(CONFIGMAPS, "one", "default"), StatusError)
    assert found["data"] == {"of": "the new one"}
