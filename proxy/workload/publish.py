"""Makes a negotiated type one that its workspace serves."""

from __future__ import annotations

import contextlib

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.natives import importable
from proxy.workload.api import CRDS, not_there
from proxy.workload.definition import crd_name, crd_of, is_ours, version_of
from proxy.workload.outcome import SERVED, Outcome
from proxy.workload.schema import Incompatible, common
from proxy.workload.shared import SharedTypes, Taken, can_be_shared, plain
from proxy.workload.typekey import TypeKey


class Publisher:
    """Publishes types on one shard."""

    def __init__(self, client: Client, shared: SharedTypes) -> None:
        self._client = client
        self._shared = shared
        self._native: dict[tuple[str, str], frozenset[str]] = {}
        """Group and version → importable resources that the shard serves itself."""

    async def enforced(self, key: TypeKey) -> Object | None:
        """The schema of a CRD for that type that somebody made by hand; None where there is no such CRD, an empty one
        where it does not serve that version."""
        if key.group in NATIVE_GROUPS:
            return None
        crd = await self._crd(key)
        if crd is None or is_ours(crd):
            return None
        version = version_of(crd, key.version)
        return version["schema"]["openAPIV3Schema"] if version is not None and version["served"] else {}

    async def publish(self, key: TypeKey, negotiated: Object, *, changing: bool) -> Outcome:
        """Make the CRD where one is needed, or its version. The workspace is to serve the type.

        ``changing``: the schema may change while there are objects, so the CRD is not to be shared with others.
        """
        if key.group in NATIVE_GROUPS:
            return await self._native_outcome(key)
        crd = await self._crd(key)
        if crd is not None and not is_ours(crd):
            version = version_of(crd, key.version)
            # Made by hand while the type was being bound: a workspace that has one is refused the other.
            again = await self._shared.withdraw(key)
            if version is not None and version["served"]:
                return Outcome(True, "Enforced", "a CustomResourceDefinition made by hand serves it", True, again)
            return Outcome(
                False, "VersionConflict", "the CustomResourceDefinition made by hand does not serve it", again=again
            )
        own = crd is not None or not can_be_shared(key) or (changing and not await self._shared.binding(key))
        try:
            if not own:
                with contextlib.suppress(Taken):
                    return await self._shared.publish(key, negotiated["spec"])
            desired = crd_of(key, negotiated["spec"])
            desired["metadata"]["name"] = crd_name(key)
            desired["spec"]["group"] = key.resource.group
            if crd is None:
                await self._client.create(CRDS, desired)
            else:
                await self._add_version(crd, desired)
        except Incompatible as error:
            return Outcome(False, "VersionConflict", str(error))
        except StatusError as error:
            if error.code not in (400, 422):
                raise
            return Outcome(False, "InvalidSchema", plain(error.message, key.token)[:1000])
        return SERVED

    async def _add_version(self, crd: Object, desired: Object) -> None:
        """Make a CRD of ours serve the one version of ``desired``, too. Objects are stored once, in the version that
        was there first, and served in all of them as they are: raises Incompatible where that cannot be.
        """
        wanted: Object = desired["spec"]["versions"][0]
        versions: list[Object] = crd["spec"]["versions"]
        stored = next(version for version in versions if version["storage"])
        names = crd["spec"]["names"]
        if stored["name"] == wanted["name"]:
            names = desired["spec"]["names"]
        else:
            for part, here in (("scope", crd["spec"]["scope"]), ("kind", names["kind"])):
                there = desired["spec"]["scope"] if part == "scope" else desired["spec"]["names"]["kind"]
                if here != there:
                    raise Incompatible(part, f"{here} in version {stored['name']}, {there} in {wanted['name']}")
            common(stored["schema"]["openAPIV3Schema"], wanted["schema"]["openAPIV3Schema"])
            wanted = {**wanted, "storage": False}
        whole = [wanted if version["name"] == wanted["name"] else version for version in versions]
        if wanted not in whole:
            whole.append(wanted)
        if whole != versions or names != crd["spec"]["names"]:
            changed = {**crd, "spec": {**crd["spec"], "names": names, "versions": whole}}
            await self._client.replace(CRDS, changed)

    async def withdraw(self, key: TypeKey) -> float | None:
        """Take the version out of the CRD, if it is one of ours, and delete the CRD with its last one; of a shared one,
        the workspace's part in it. If that is not done yet, in how many seconds to go on."""
        if key.group in NATIVE_GROUPS:
            return None
        await self._withdraw_own(key)
        return await self._shared.withdraw(key)

    async def _withdraw_own(self, key: TypeKey) -> None:
        crd = await self._crd(key)
        version = version_of(crd, key.version) if crd is not None else None
        if crd is None or version is None or not is_ours(crd):
            return
        others = [each for each in crd["spec"]["versions"] if each["name"] != key.version]
        with not_there():
            if not any(each["served"] for each in others):
                await self._client.delete(CRDS, crd["metadata"]["name"], uid=crd["metadata"]["uid"])
            elif key.version in crd["status"].get("storedVersions", ()) and version["served"]:
                # Objects may be stored in it: it stays, unseen.
                version["served"] = False
                await self._client.replace(CRDS, crd)
            elif key.version not in crd["status"].get("storedVersions", ()):
                await self._client.replace(CRDS, {**crd, "spec": {**crd["spec"], "versions": others}})

    async def is_kept(self, key: TypeKey) -> bool:
        """Whether objects of the type stay in reach without it, by another version."""
        if key.group not in NATIVE_GROUPS and await self._shared.binding(key):
            return await self._shared.is_kept(key)
        crd = await self._crd(key) if key.group not in NATIVE_GROUPS else None
        if crd is None or not is_ours(crd):
            return crd is not None
        return any(each["served"] for each in crd["spec"]["versions"] if each["name"] != key.version)

    async def resource(self, key: TypeKey) -> Resource:
        """Where its objects stand."""
        shared = await self._shared.resource(key) if key.group not in NATIVE_GROUPS else None
        return shared or key.resource

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
        return await self._client.find(CRDS, crd_name(key))
