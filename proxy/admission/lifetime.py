"""The plugin NamespaceLifecycle once more, for writes that webhooks have kept waiting.

A kube-apiserver asks it at first: what then waits for a webhook may be written when its namespace is gone, and nobody
ever takes it away. In a workspace, whose namespaces end within a second or so (`proxy.tenancy.namespaces`), that would
be seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from proxy.admission.callback import NAMESPACES, Question
from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError, not_found

LONG = 0.3
"""Seconds that a write may wait without another look at its namespace: much less than a namespace takes to end."""


class Lifetime:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.ADMISSION.on_all(shards)

    async def look(self, question: Question) -> None:
        """Raises StatusError 403, as the plugin does, and 404."""
        review, workspace = question.review, question.workspace
        resource, namespace = review.resource, review.namespace
        if review.operation != "CREATE" or not namespace or (resource.group, resource.resource) == ("", "namespaces"):
            return
        if time.monotonic() - question.began < LONG:
            return
        found = await self._shards[workspace.shard].find(NAMESPACES, workspace.prefix + namespace)
        if found is None:
            raise not_found("namespaces", namespace)
        if not found["metadata"].get("deletionTimestamp"):
            return
        what = f"{resource.resource}.{resource.group}" if resource.group else resource.resource
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
        raise StatusError(
            403,
            f'{what} "{review.name}" is forbidden: unable to create new content in namespace {namespace} because it is '
            "being terminated",
            details={"name": review.name, "group": resource.group, "kind": resource.resource, "causes": [cause]},
        )
