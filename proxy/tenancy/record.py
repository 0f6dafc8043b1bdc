"""What is written into a LogicalCluster, the record of a workspace on its shard."""

from __future__ import annotations

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.tenancy.index import LOGICAL_CLUSTERS


async def write(client: Client, token: str, spec: Object, version: str | None = None) -> bool:
    """Change its ``spec``; False where it is gone, or another than it was in ``version``. Raises StatusError."""
    patch: Object = {"spec": spec}
    if version is not None:
        patch["metadata"] = {"resourceVersion": version}
    try:
        await client.patch(LOGICAL_CLUSTERS, token, patch)
    except StatusError as error:
        if error.code not in (404, 409):
            raise
        return False
    return True
