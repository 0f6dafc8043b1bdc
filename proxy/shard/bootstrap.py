"""Makes any kube-apiserver a shard: applies CRDs, policies and flow schemas, and waits until they work.

Idempotent and quick the second time: an object that was made from the same manifest is left alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.shard.asking import Asking
from proxy.shard.manifests import HASH, Manifest, load_manifests
from proxy.shard.rights import await_rights, is_right, is_role

log = logging.getLogger(__name__)
T = TypeVar("T")

MANAGER = "kcp"
"""Field manager of everything applied here."""
LABEL = "0.kcp.dev/w"
MANY = "logicalclusters.internal.kcp.dev"
"""The CRD of the objects that tell a shard's workspaces."""
TIMEOUT = 60.0
"""Seconds for everything to take effect; 1 or 2 in practice."""
POLL = 0.04
POLICY_GROUP = "admissionregistration.k8s.io"
POLICY_VERSIONS = ("v1", "v1beta1", "v1alpha1")
"""In which MutatingAdmissionPolicy is served, the best first: v1 since Kubernetes 1.36."""


class BootstrapError(Exception):
    """A kube-apiserver that cannot be made a shard; one line."""


async def bootstrap(client: Client, asking: Asking | None = None, *, timeout: float = TIMEOUT) -> list[str]:
    """Apply all manifests and wait until they work: CRDs are served, policies act, Kubernetes' own roles are there.

    The server must answer requests, but need not be ready. Returns what was changed, ``Kind name`` each.
    Raises BootstrapError where the server lacks what is needed, StatusError where it refuses.
    """
    changed = await apply_manifests(client, asking, timeout=timeout)
    await await_effects(client, timeout=timeout)
    return changed


async def apply_manifests(client: Client, asking: Asking | None = None, *, timeout: float = TIMEOUT) -> list[str]:
    """The first half of `bootstrap`: everything is applied and CRDs are served; policies need not act yet.

    ``asking``: where the shard reaches proxies; None where that is not known, which leaves as it is what it knows.
    """
    async with _in_time(client, timeout):
        version = await _policy_version(client)
        manifests = [_in_version(manifest, version) for manifest in load_manifests()]
        manifests += asking.manifests() if asking is not None else []
        rights = [manifest for manifest in manifests if is_right(manifest.obj)]
        # The label policy goes last: when it is seen to act, those applied before it do too. While it is missing, most
        # others are not either, and looking for them takes as long as making them.
        last = [manifest for manifest in manifests if _is_label_policy(manifest)]
        new = not any([await _is_there(client, manifest) for manifest in last])
        changed, _ = await asyncio.gather(
            _apply_all(client, [item for item in manifests if item not in (*rights, *last)], new),
            _read_ahead(client, manifests),
        )
        changed += await _apply_all(client, last, new)
        # CRDs take their time to be served.
        crds = [manifest for manifest in manifests if manifest.is_crd]
        served = asyncio.gather(
            _known(client, [manifest for manifest in crds if str(manifest) not in changed]),
            *(_served(client, manifest) for manifest in crds if str(manifest) in changed),
        )
        granted, _ = await asyncio.gather(_grant(client, rights, new), served)
        changed += granted
    if changed:
        log.info("%s: applied %s", client.connection.server, ", ".join(changed))
    return changed


async def await_effects(client: Client, *, timeout: float = TIMEOUT) -> None:
    """The second half of `bootstrap`: policies act, Kubernetes' own roles are there."""
    await await_policies(client, timeout=timeout)
    await await_roles(client, timeout=timeout)


async def await_policies(client: Client, *, timeout: float = TIMEOUT) -> None:
    """Before it, nothing may be written for a workspace: it would lack its label."""
    async with _in_time(client, timeout):
        await _policy_acts(client)


async def await_roles(client: Client, *, timeout: float = TIMEOUT) -> None:
    """Those of Kubernetes, of which workspaces get copies when somebody asks for them."""
    async with _in_time(client, timeout):
        await _until(lambda: client.request("GET", "/readyz/poststarthook/rbac/bootstrap-roles"))


@asynccontextmanager
async def _in_time(client: Client, timeout: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise BootstrapError(f"{client.connection.server}: what a shard needs did not take effect in time") from error


async def _read_ahead(client: Client, manifests: Iterable[Manifest]) -> None:
    """A server that has only just begun reads all objects of a kind when it is first asked for one. With the kind of
    which there may be thousands, and which workers wait for, it begins now."""
    for crd in manifests:
        if crd.is_crd and crd.name == MANY:
            for resource in _resources(crd):
                with suppress(StatusError):
                    await client.find(resource, "none")


async def _apply_all(client: Client, manifests: Iterable[Manifest], new: bool) -> list[str]:
    """``new``: without a look at what there is."""
    results = await asyncio.gather(*(_apply(client, manifest, new) for manifest in manifests))
    return [name for name in results if name]


async def _grant(client: Client, rights: list[Manifest], new: bool) -> list[str]:
    """Until they count: whoever begins before is refused, and waits."""
    changed = await _apply_all(client, rights, new)
    await await_rights(client, [manifest.name for manifest in rights if is_role(manifest.obj)], _until)
    return changed


async def _is_there(client: Client, manifest: Manifest) -> bool:
    """As it is to be."""
    existing = await client.find(manifest.resource, manifest.name)
    if existing is None or manifest.is_kubernetes_own:
        return existing is not None
    return bool((existing["metadata"].get("annotations") or {}).get(HASH) == manifest.hash)


async def _apply(client: Client, manifest: Manifest, new: bool) -> str | None:
    if not new and await _is_there(client, manifest):
        return None
    if manifest.is_kubernetes_own:
        made = await _retried(lambda: _create_missing(client, manifest))
        return str(manifest) if made else None
    await _retried(lambda: client.apply(manifest.resource, manifest.obj, manager=MANAGER))
    return str(manifest)


async def _create_missing(client: Client, manifest: Manifest) -> bool:
    """Whether it was missing."""
    try:
        await client.create(manifest.resource, manifest.obj)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        return False
    return True


async def _retried(call: Callable[[], Awaitable[T]]) -> T:
    # A server that has only just begun to serve refuses writes until admission has read what it needs.
    for _ in range(100):
        try:
            return await call()
        except StatusError as error:
            if error.code not in (409, 429, 500, 503) and "not yet ready" not in error.message:
                raise
            failure = error
        await asyncio.sleep(POLL * 2)
    raise failure


async def _policy_version(client: Client) -> str:
    """The version in which MutatingAdmissionPolicy is to be written."""
    for version in POLICY_VERSIONS:
        try:
            found = await client.request("GET", f"/apis/{POLICY_GROUP}/{version}")
        except StatusError as error:
            if error.code != 404:
                raise
            continue
        if any(resource["name"] == "mutatingadmissionpolicies" for resource in found["resources"]):
            return version
    raise BootstrapError(
        f"{client.connection.server} does not serve MutatingAdmissionPolicy: a shard needs Kubernetes 1.36, "
        "or an older one with that feature gate and API switched on"
    )


def _in_version(manifest: Manifest, version: str) -> Manifest:
    if not str(manifest.obj["kind"]).startswith("MutatingAdmissionPolicy"):
        return manifest
    resource = replace(manifest.resource, version=version)
    return Manifest(resource, manifest.obj | {"apiVersion": resource.api_version})


def _is_label_policy(manifest: Manifest) -> bool:
    return manifest.name == "workspace-label.kcp.dev"


def _resources(crd: Manifest) -> Iterator[Resource]:
    """In every version that is served."""
    spec = crd.obj["spec"]
    for version in spec["versions"]:
        if version["served"]:
            yield Resource(spec["group"], version["name"], spec["names"]["plural"], namespaced=False)


async def _served(client: Client, crd: Manifest) -> None:
    """Wait until a new CRD is really served: its condition Established comes a moment before that."""
    for resource in _resources(crd):
        await _until(lambda resource=resource: client.request("GET", resource.path(), params={"limit": 1}))  # type: ignore[misc]


async def _known(client: Client, crds: Iterable[Manifest]) -> None:
    """Wait until a server, which may have only just begun, knows CRDs that it has served before. Objects are not asked
    for: there may be thousands, and the first who does makes it read them all."""
    wanted: dict[str, set[str]] = {}
    for resource in (resource for crd in crds for resource in _resources(crd)):
        wanted.setdefault(f"/apis/{resource.api_version}", set()).add(resource.plural)

    async def lists(path: str) -> bool:
        return wanted[path] <= {resource["name"] for resource in (await client.request("GET", path))["resources"]}

    await asyncio.gather(*(_until(lambda path=path: lists(path)) for path in wanted))  # type: ignore[misc]


async def _policy_acts(client: Client) -> None:
    """Wait until the label policy does its work: an API server takes up to a second to look at new policies."""
    probe = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kaaaaaaaa-probe"}}

    async def labelled() -> bool:
        answer = await client.request("POST", "/api/v1/namespaces", body=probe, params={"dryRun": "All"})
        return (answer["metadata"].get("labels") or {}).get(LABEL) == "kaaaaaaaa"

    await _until(labelled)


async def _until(call: Callable[[], Awaitable[object]]) -> None:
    """Repeat until ``call`` gives something true; failures count as not yet. Bounded by the caller's time limit."""
    began = time.monotonic()
    while True:
        try:
            if await call():
                return
        except StatusError as error:
            log.debug("not yet: %s", error)
        await asyncio.sleep(POLL if time.monotonic() - began < 5 else 0.5)
