"""The creator of a workspace may enter and administer it: a role in the parent that names this one workspace, made
where somebody asks for it (`proxy.tenancy.owner_roles`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from proxy.kube.client import Client, Object
from proxy.kube.errors import ignoring
from proxy.kube.reviews import ACCESS_REVIEWS, status_of
from proxy.mapping.token import PREFIX_LENGTH
from proxy.tenancy import api, content
from proxy.tenancy.index import LOGICAL_CLUSTERS, MADE, WANTED, Workspace
from proxy.tenancy.record import write

AGAIN = 0.05
"""Seconds until a role is looked at again that changed meanwhile."""
MOVING_AGAIN = 1.0
"""The same for whether a workspace has moved."""
COUNTS_WITHIN, LOOK_AGAIN = 1.0, 0.01
"""Seconds that a shard may take to go by a new role, and from one look to the next; if it does not, somebody else made
an object of that name that says something else."""


class Owners:
    """Of all workspaces whose parents are on one shard. ``shards``: where the workspaces themselves may be."""

    def __init__(self, client: Client, shards: Mapping[str, Client]) -> None:
        self._client = client
        self._shards = shards

    async def make_wanted(self, workspace: Workspace, prefix: str, name: str, half: Object) -> float | None:
        """Make the role that somebody wants of ``workspace``'s owner, with ``prefix`` of the parent, ``name`` of the
        pair on the shard, and ``half`` of it, which says who the owner is; or say when to try again (seconds).

        It is said to be made in the version in which it was wanted: where a move to another shard has begun since,
        that shard would not know.
        """
        client = self._shards[workspace.shard]
        found = await client.find(LOGICAL_CLUSTERS, workspace.token)
        if found is None or found["spec"].get("ownerRole") != WANTED:
            return None
        if found["spec"].get("move"):
            return MOVING_AGAIN
        await self.grant(prefix, name, half)
        await self._wait_until_it_counts(prefix, name, half)
        version = found["metadata"]["resourceVersion"]
        return None if await write(client, workspace.token, {"ownerRole": MADE}, version) else AGAIN

    async def _wait_until_it_counts(self, prefix: str, name: str, half: Object) -> None:
        """What is implied ends when the role is said to be made."""
        owner, _ = api.owner_of(half, prefix)
        about = {"group": api.GROUP, "resource": "workspaces", "verb": "get", "name": name}
        asked = {"user": owner, "resourceAttributes": about}
        until = time.monotonic() + COUNTS_WITHIN
        while owner and not (await status_of(self._client, ACCESS_REVIEWS, asked)).get("allowed"):
            if time.monotonic() > until:
                return
            await asyncio.sleep(LOOK_AGAIN)

    async def grant(self, prefix: str, name: str, half: Object) -> None:
        """Make it, if the owner is known. Raises StatusError."""
        owner, plain = api.owner_of(half, prefix)
        if not owner:
            return
        role_name = api.owner_role_name(prefix, name[PREFIX_LENGTH:], plain)
        role: Object = {
            "apiVersion": api.CLUSTER_ROLES.api_version,
            "kind": "ClusterRole",
            "metadata": {"name": role_name},
            "rules": [
                {
                    "apiGroups": [api.GROUP],
                    "resources": ["clusterworkspaces/content", "workspaces/content"],
                    "resourceNames": [name],
                    "verbs": ["access", "admin"],
                },
                {
                    "apiGroups": [api.GROUP],
                    "resources": ["clusterworkspaces", "workspaces"],
                    "resourceNames": [name],
                    "verbs": ["get", "delete"],
                },
            ],
        }
        binding: Object = {
            "apiVersion": api.CLUSTER_ROLE_BINDINGS.api_version,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role_name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": owner}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role_name},
        }
        await asyncio.gather(
            content.create_if_absent(self._client, api.CLUSTER_ROLES, role),
            content.create_if_absent(self._client, api.CLUSTER_ROLE_BINDINGS, binding),
        )

    async def revoke(self, prefix: str, name: str, half: Object) -> None:
        """Also where there is none."""
        owner, plain = api.owner_of(half, prefix)
        if not owner:
            return
        workspace = name[PREFIX_LENGTH:]
        role, old = (of(prefix, workspace, plain) for of in (api.owner_role_name, api.ambiguous_role_name))
        await self._delete(role)
        if old != role:
            found = await self._client.find(api.CLUSTER_ROLES, old)
            if found is not None and any(name in (rule.get("resourceNames") or ()) for rule in found["rules"] or ()):
                await self._delete(old)

    async def _delete(self, role: str) -> None:
        await asyncio.gather(
            ignoring(404, self._client.delete(api.CLUSTER_ROLE_BINDINGS, role)),
            ignoring(404, self._client.delete(api.CLUSTER_ROLES, role)),
        )
