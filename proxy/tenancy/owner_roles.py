"""The role of a workspace's owner in the parent, made when somebody could see it.

Who makes a workspace may enter it, do everything there, and read and delete it: a ClusterRole in the parent that names
this one workspace, and its binding. A kube-apiserver's RBAC looks at all ClusterRoleBindings of a shard for each
request of who is no administrator of it, and most parents are never asked about their roles. So the LogicalCluster of a
new workspace says that its owner's rights are *implied*. Whoever wants to see, use or take away the role makes a worker
write that it is *wanted*; then the controllers make it (`proxy.tenancy.lifecycle`), and say that it is *made*: from
then on it alone is what gives the owner any right. What is made never becomes implied again, which the shard sees to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.tenancy.api import owner_role_name
from proxy.tenancy.index import DELETING, IMPLIED, LOGICAL_CLUSTERS, WANTED, Workspace, WorkspaceIndex
from proxy.tenancy.record import write

log = logging.getLogger(__name__)

MADE_WITHIN = 3.0
"""Seconds that somebody waits for them: some hundredths for one, 3 ms more for each of many."""
AT_ONCE = 16
"""That are made for one request."""
ROLE = "owner-workspace-"


class OwnerRoles:
    """As a worker has them made. ``shards``: a client for each, which may impersonate."""

    def __init__(self, index: WorkspaceIndex, shards: Mapping[str, Client]) -> None:
        self._index = index
        self._shards = Identity.OPENING.on_all(shards)

    def missing(self, parent: Workspace) -> bool:
        """Whether that of any child of ``parent`` is."""
        return self._index.implied.any_in(parent.path)

    def all_in(self, parent: Workspace) -> list[str]:
        """Paths of the children that have none."""
        return self._index.implied.all_in(parent.path)

    def of(self, parent: Workspace, owner: str) -> list[str]:
        """Those of one owner."""
        return list(self._index.implied.of(parent.path, owner))

    def named(self, parent: Workspace, role: str) -> list[str]:
        """The one whose role would have that name: names of workspaces and of users may both have dashes in them."""
        ends = [at for at, letter in enumerate(role) if letter == "-" and at > len(ROLE)]
        for at in ends if role.startswith(ROLE) else ():
            name = role[len(ROLE) : at]
            child = self._index.get(f"{parent.path}:{name}") if ":" not in name else None
            if child is not None and child.implied and owner_role_name("", name, child.owner) == role:
                return [child.path]
        return []

    async def make(self, paths: Iterable[str]) -> bool:
        """Have the roles of the workspaces at these ``paths`` made; whether all are, after `MADE_WITHIN` seconds."""
        left = iter(paths)

        async def make_some() -> None:
            for path in left:
                await self._make(path)

        try:
            async with asyncio.timeout(MADE_WITHIN):
                await asyncio.gather(*(make_some() for _ in range(AT_ONCE)))
        except TimeoutError:
            return False
        except StatusError as error:
            log.warning("roles of workspaces' owners cannot be made: %s", error)
            return False
        return True

    async def _make(self, path: str) -> None:
        asked = False
        while (child := self._index.get(path)) is not None and child.implied and child.phase != DELETING:
            if not asked:
                asked = child.owner_role == WANTED or await want(self._shards[child.shard], child)
            await self._index.wait_while(child, MADE_WITHIN)


async def want(client: Client, workspace: Workspace) -> bool:
    """Write that the role of ``workspace``'s owner is wanted, if it is not; False where that has to be tried again.

    Raises StatusError.
    """
    found = await client.find(LOGICAL_CLUSTERS, workspace.token)
    if found is None or found["spec"].get("ownerRole") != IMPLIED:
        return True
    if found["spec"].get("move"):
        return False
    return await write(client, workspace.token, {"ownerRole": WANTED}, found["metadata"]["resourceVersion"])
