"""Service ``default/kubernetes`` of workspaces of type Cluster: where in-cluster clients expect the API server.

As the ``kubernetesservice`` controller of a kube-apiserver keeps it (k8s.io/kubernetes/pkg/controlplane): made again
when it is deleted, with an EndpointSlice and, for an address, Endpoints. Its cluster IP leads nowhere by itself: there
are no nodes. A loopback address cannot stand in endpoints, so an installation on loopback has none there.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import token_of
from proxy.tenancy.api import DEFAULT
from proxy.tenancy.content import create_if_absent
from proxy.tenancy.index import READY, Workspace, WorkspaceIndex

SERVICES = Resource("", "v1", "services")
ENDPOINTS = Resource("", "v1", "endpoints")
SLICES = Resource("discovery.k8s.io", "v1", "endpointslices")
NAME = "kubernetes"
TYPE = "Cluster"
LOOK_AGAIN = 60.0
"""Seconds, while the namespace is away."""


class KubernetesServices:
    """``external_url``: ``https://HOST:PORT`` as clients reach the proxy."""

    def __init__(self, shards: Mapping[str, Client], index: WorkspaceIndex, external_url: str) -> None:
        self._shards = Identity.SERVICES.on_all(shards)
        self._index = index
        self._objects = objects(external_url)
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="kubernetes services", workers=2)
        self._informers = [
            Informer(client, SERVICES, field_selector=f"metadata.name={NAME}", metadata_only=True, transform=_slim)
            for client in self._shards.values()
        ]
        for informer in self._informers:
            informer.add_handler(self._event)
        index.add_listener(self._workspace)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run())
            group.create_task(self._queue.run())

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        token = token_of(new["metadata"]["namespace"])
        if token is not None and kind == "DELETED":
            self._queue.add(token)

    def _workspace(self, workspace: Workspace, exists: bool) -> None:
        if exists and workspace.type == TYPE and workspace.phase == READY:
            self._queue.add(workspace.token)

    async def _reconcile(self, token: str) -> float | None:
        workspace = self._index.by_token(token)
        if workspace is None or workspace.type != TYPE or workspace.phase != READY:
            return None
        client, namespace = self._shards[workspace.shard], workspace.prefix + DEFAULT
        try:
            for resource, obj in self._objects:
                meta = {**obj["metadata"], "namespace": namespace}
                if resource is SERVICES:
                    await create_if_absent(client, resource, {**obj, "metadata": meta})
                else:
                    await _apply(client, resource, {**obj, "metadata": meta})
        except StatusError as error:
            if error.code not in (403, 404):
                raise
            return LOOK_AGAIN
        return None


async def _apply(client: Client, resource: Resource, obj: Object) -> None:
    try:
        await client.apply(resource, obj, manager="kcp")
    except StatusError as error:
        if error.code != 422:
            raise
        # The type of a slice's addresses cannot change.
        await client.delete(resource, NAME, obj["metadata"]["namespace"])
        await client.apply(resource, obj, manager="kcp")


def objects(url: str) -> list[tuple[Resource, Object]]:
    """Service, EndpointSlice and perhaps Endpoints for an API server at ``url``; without namespace."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    meta: Object = {"name": NAME, "labels": {"component": "apiserver", "provider": "kubernetes"}}
    spec: Object = {
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        "sessionAffinity": "None",
    }
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
    ports = [{"name": "https", "port": port, "protocol": "TCP"}]
    kind, addresses = addresses_of(host)
    slices: Object = {
        "apiVersion": SLICES.api_version,
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": kind,
        "endpoints": [{"addresses": addresses, "conditions": {"ready": True}}] if addresses else [],
        "ports": ports,
    }
    found: list[tuple[Resource, Object]] = [(SERVICES, service), (SLICES, slices)]
    if kind != "FQDN":
        subsets: list[Any] = [{"addresses": [{"ip": address} for address in addresses], "ports": ports}]
        labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
        endpoints: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": NAME, "labels": labels}}
        found.append((ENDPOINTS, {**endpoints, "subsets": subsets if addresses else []}))
    return found


def addresses_of(host: str) -> tuple[str, list[str]]:
    """Type of the addresses of a slice, and the addresses that may stand in it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ("FQDN", [host]) if "." in host else ("IPv4", [])
    usable = not (address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast)
    return f"IPv{address.version}", [str(address)] if usable else []


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    return {"metadata": {"namespace": meta["namespace"], "name": meta["name"]}}
