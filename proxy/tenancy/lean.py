"""Objects without managedFields (manifests/shard/unmanaged.yaml): what kcp alone writes, thousands of times."""

from __future__ import annotations

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

LEAN = "kcp-lean"
"""Manager that says so to the shard's policy; no object ever carries it."""


async def apply_lean(client: Client, resource: Resource, obj: Object) -> Object:
    """Server-side apply of ``obj``, without force: raises StatusError 409 where somebody else's is there.

    For the first seconds of a CRD an API server can take nothing out of its objects, and says 503: then it is left in.
    """
    try:
        return await client.apply(resource, obj, manager=LEAN, force=False)
    except StatusError as error:
        if error.code != 503:
            raise
        return await client.apply(resource, obj, manager="kcp", force=False)
