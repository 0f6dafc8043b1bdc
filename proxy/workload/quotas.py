"""Quotas count objects of a type (``count/widgets.example.com``) where they stand on the shard."""

from __future__ import annotations

from proxy.kube.client import Client, Resource
from proxy.mapping.token import LABEL
from proxy.workload.api import not_there
from proxy.workload.typekey import TypeKey

QUOTAS = Resource("", "v1", "resourcequotas")


async def recount(client: Client, key: TypeKey, before: str, after: str) -> None:
    """The workspace's quotas are to count a type in group ``after`` and no longer in ``before``, both on the shard."""
    old, new = (f"count/{key.plural}.{group}" for group in (before, after))
    if old == new:
        return
    for quota in (await client.list(QUOTAS, label_selector=f"{LABEL}={key.token}"))["items"]:
        hard = quota["spec"].get("hard") or {}
        if old in hard:
            meta = quota["metadata"]
            patch = {"spec": {"hard": {old: None, new: hard[old]}}}
            with not_there():
                await client.patch(QUOTAS, meta["name"], patch, meta["namespace"])
