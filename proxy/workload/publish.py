"""Makes a negotiated type one that its workspace serves."""

from __future__ import annotations

from typing import NamedTuple

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.natives import importable
from proxy.workload.api import CRDS
from proxy.workload.typekey import TypeKey

MADE_BY = "apiresource.kcp.dev/negotiated"
"""Annotation of a CRD that was made from a NegotiatedAPIResource."""


class Outcome(NamedTuple):
    """Whether the workspace serves a type now; ``enforced``: by a CRD that is not ours."""

    published: bool
    reason: str = ""
    message: str = ""
    enforced: bool = False


SERVED = Outcome(True)
NOT_WANTED = Outcome(False, "NotPublished", "spec.publish is false")


class Publisher:
    """Publishes types on one shard."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._native: dict[tuple[str, str], frozenset[str]] = {}
        """Group and version → importable resources that the shard serves itself."""

    async def publish(self, key: TypeKey, negotiated: Object) -> Outcome:
        """Make the CRD where one is needed and wanted."""
        wanted = bool(negotiated["spec"].get("publish"))
        if key.group in NATIVE_GROUPS:
            return await self._native_outcome(key) if wanted else NOT_WANTED
        crd = await self._crd(key)
        if crd is not None and not _is_ours(crd):
            return Outcome(True, enforced=True)
        if crd is not None and crd["spec"]["versions"][0]["name"] != key.version:
            served = crd["spec"]["versions"][0]["name"]
            return Outcome(False, "VersionConflict", f"version {served} of the same resource is published")
        if not wanted:
            return SERVED if crd is not None else NOT_WANTED
        desired = crd_of(key, negotiated["spec"])
        try:
            if crd is None:
                await self._client.create(CRDS, desired)
            elif any(crd["spec"].get(part) != desired["spec"][part] for part in ("names", "versions")):
                desired["metadata"]["resourceVersion"] = crd["metadata"]["resourceVersion"]
                await self._client.replace(CRDS, desired)
        except StatusError as error:
            if error.code not in (400, 422):
                raise
            return Outcome(False, "InvalidSchema", error.message.replace(f"{key.token}-", "")[:1000])
        return SERVED

    async def withdraw(self, key: TypeKey) -> None:
        """Delete the CRD, if it is one of ours."""
        if key.group in NATIVE_GROUPS:
            return
        crd = await self._crd(key)
        if crd is None or not _is_ours(crd) or crd["spec"]["versions"][0]["name"] != key.version:
            return
        try:
            await self._client.delete(CRDS, crd["metadata"]["name"], uid=crd["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def _native_outcome(self, key: TypeKey) -> Outcome:
        if key.plural in await self._native_resources(key.group, key.version):
            return SERVED
        return Outcome(False, "NotServed", "the control plane does not serve it, or only for itself as a whole")

    async def _native_resources(self, group: str, version: str) -> frozenset[str]:
        """What an import may show."""
        if (group, version) not in self._native:
            try:
                listed = await self._client.request("GET", f"/apis/{group}/{version}" if group else f"/api/{version}")
            except StatusError as error:
                if error.code != 404:
                    raise
                return frozenset()
            self._native[group, version] = frozenset(
                entry["name"] for entry in listed.get("resources") or () if importable(group, entry["name"])
            )
        return self._native[group, version]

    async def _crd(self, key: TypeKey) -> Object | None:
        try:
            return await self._client.get(CRDS, crd_name(key))
        except StatusError as error:
            if error.code != 404:
                raise
            return None


def _is_ours(crd: Object) -> bool:
    return MADE_BY in (crd["metadata"].get("annotations") or {})


def crd_name(key: TypeKey) -> str:
    """On the shard."""
    return f"{key.plural}.{key.token}-{key.group}"


def crd_of(key: TypeKey, spec: Object) -> Object:
    """The workspace's CRD for a negotiated type, named as on the shard, with what the API server would add to it."""
    version: Object = {
        "name": key.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": spec.get("openAPIV3Schema") or {"type": "object"}},
    }
    if "status" in {item["name"] for item in spec.get("subResources") or ()}:
        version["subresources"] = {"status": {}}
    if spec.get("columnDefinitions"):
        version["additionalPrinterColumns"] = spec["columnDefinitions"]
    names = {"singular": spec["kind"].lower(), "listKind": f"{spec['kind']}List"}
    names |= {
        name: spec[name]
        for name in ("plural", "singular", "kind", "listKind", "shortNames", "categories")
        if spec.get(name)
    }
    return {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": crd_name(key), "annotations": {MADE_BY: "true"}},
        "spec": {"group": f"{key.token}-{key.group}", "scope": spec["scope"], "names": names, "versions": [version]},
    }
