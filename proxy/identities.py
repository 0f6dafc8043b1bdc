"""As whom the parts of kcp ask shards: each is a user of its own with the rights that it needs, and no others.

``manifests/shard/identities.yaml`` gives the rights, and keeps what they write inside of workspaces. Whom a shard's
kubeconfig names impersonates these users, and does nothing in its own name but prepare the shard. What clients ask is
not theirs: it goes to the shard behind the gate (`proxy.auth.identity`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from proxy.kube.client import Client

GROUP = "system:kcp"
"""All of them are in it."""


class Identity(StrEnum):
    # of workers
    PRESENCE = "presence"
    """Follows which workspaces there are, and says that a worker is there."""
    DISCOVERY = "discovery"
    """Follows which types and classes there are."""
    ACCESS = "access"
    """Follows RBAC, asks who somebody is and what they may do."""
    OPENING = "opening"
    """Makes what a workspace gets when it is first used."""
    ADMISSION = "admission"
    """Follows webhooks and policies of workspaces, and knows the key of tickets."""
    PARAMETERS = "parameters"
    """Reads any object, for policies that have parameters."""
    COUNTING = "counting"
    """Counts what a workspace has."""
    REACHING = "reaching"
    """Looks up where a pod runs."""
    # of controllers
    TENANCY = "tenancy"
    """Makes workspaces; holds the Lease of the controllers."""
    REMOVAL = "removal"
    """Deletes whatever a workspace holds."""
    NAMESPACES = "namespaces"
    """Empties namespaces of workspaces that are being deleted."""
    QUOTAS = "quotas"
    """Counts what quotas of workspaces are about."""
    MOVING = "moving"
    """Copies whatever a workspace holds to another shard."""
    ROLES = "roles"
    """Fills aggregated ClusterRoles."""
    ACCOUNT_TOKENS = "account-tokens"
    """Fills Secrets with tokens of service accounts."""
    SERVICES = "services"
    """Keeps Service kubernetes of workspaces."""
    WORKLOAD = "workload"
    """Negotiates types, places namespaces."""
    OBJECTS = "objects"
    """Labels objects that are synced, and lets go of them."""
    PUSHING = "pushing"
    """`kcp syncer`: reads the kubeconfigs that workspaces have handed over."""
    MONITORING = "monitoring"
    """Metrics, and what an operator is shown."""

    @property
    def user(self) -> str:
        """As shards know it."""
        return f"{GROUP}:{self.value}"

    def on(self, shard: Client) -> Client:
        """A client of that shard with the same connections."""
        return shard.acting_as(self.user, (GROUP,))

    def on_all(self, shards: Mapping[str, Client]) -> dict[str, Client]:
        return {name: self.on(shard) for name, shard in shards.items()}
