"""The creator of a workspace may enter and administer it: a role in the parent that names this one workspace."""

from __future__ import annotations

import asyncio

from proxy.kube.client import Client, Object
from proxy.kube.errors import ignoring
from proxy.mapping.token import PREFIX_LENGTH
from proxy.tenancy import api, content


class Owners:
    """Of all workspaces whose parents are on one shard."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._granted: set[str] = set()
        """Names of roles that were made for workspaces that are not Ready yet."""

    async def grant(self, prefix: str, name: str, half: Object) -> None:
        """``prefix`` of the parent, ``name`` of the pair on the shard, and ``half`` of it, which says who made it."""
        owner, role_name = _owner_and_role(prefix, name, half)
        if not owner or role_name in self._granted:
            return
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
        self._granted.add(role_name)

    def settled(self, prefix: str, name: str, half: Object) -> None:
        """The workspace is Ready: its owner's role is not asked for again."""
        self._granted.discard(_owner_and_role(prefix, name, half)[1])

    async def revoke(self, prefix: str, name: str, half: Object) -> None:
        owner, role = _owner_and_role(prefix, name, half)
        self._granted.discard(role)
        if owner:
            await asyncio.gather(
                ignoring(404, self._client.delete(api.CLUSTER_ROLE_BINDINGS, role)),
                ignoring(404, self._client.delete(api.CLUSTER_ROLES, role)),
            )


def _owner_and_role(prefix: str, name: str, half: Object) -> tuple[str, str]:
    """The creator, as the shard knows him, and the name of his role in the parent; empty where there is none."""
    owner: str = (half.get("metadata", {}).get("annotations") or {}).get(api.OWNER, "")
    plain = owner.replace(prefix, "", 1)
    return owner, api.owner_role_name(prefix, name[PREFIX_LENGTH:], plain) if owner else ""
