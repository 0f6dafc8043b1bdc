"""Which writes the shard is to ask about, and the ticket that makes it."""

from __future__ import annotations

from collections.abc import Awaitable

from proxy.admission.configurations import Configurations
from proxy.admission.tickets import Keys, Ticket, sign
from proxy.auth.identity import User
from proxy.auth.whoami import user_info
from proxy.mapping.paths import RequestInfo
from proxy.mapping.registrations import GROUP
from proxy.mapping.request import READ_ONLY
from proxy.tenancy.index import Workspace

REVIEWS = frozenset({"authentication.k8s.io", "authorization.k8s.io"})
"""Nothing of them is stored."""


class Tickets:
    """Of one worker."""

    def __init__(self, configurations: Configurations, keys: Keys) -> None:
        self._configurations = configurations
        self._keys = keys

    def needed(self, workspace: Workspace, info: RequestInfo) -> bool | Awaitable[bool]:
        """Whether the shard is to ask. Raises StatusError 503 where that is not known."""
        if info.verb in READ_ONLY or info.group in REVIEWS or info.group == GROUP:
            return False
        if not self._configurations.knows(workspace.shard):
            return self._needed_later(workspace, info)
        configured = self._configurations.of(workspace.shard, workspace.token)
        return configured is not None and configured.concerns(info.resource)

    async def _needed_later(self, workspace: Workspace, info: RequestInfo) -> bool:
        await self._configurations.wait_known(workspace.shard)
        configured = self._configurations.of(workspace.shard, workspace.token)
        return configured is not None and configured.concerns(info.resource)

    def make(self, workspace: Workspace, user: User) -> bytes | Awaitable[bytes]:
        key = self._keys.known(workspace.shard)
        ticket = Ticket(workspace.token, user_info(user), user.workspace_token is not None, user.masters)
        return sign(key, ticket) if key is not None else self._later(workspace.shard, ticket)

    async def _later(self, shard: str, ticket: Ticket) -> bytes:
        """Raises StatusError."""
        return sign(await self._keys.of(shard), ticket)
