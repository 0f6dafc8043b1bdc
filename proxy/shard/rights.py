"""What the parts of kcp may do on a shard: their roles, bound to them, and whether that counts already.

A role's name tells its content. Of several releases of kcp before one shard each finds its own rights, whichever was
started last. What one has made that runs no more stays.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable

from proxy.identities import GROUP, Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.reviews import ACCESS_REVIEWS, status_of

RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
PREFIX = "kcp:"
"""Of the names of such roles; that of the identity follows."""
LABEL = "internal.kcp.dev/rights-of"
"""Of roles and bindings: the identity."""
MARK = "/kcp/rights/"
"""A path that no server has; who may get it has the rules of the role whose digest follows."""


def granted(role: Object) -> tuple[Object, ...]:
    """A role as it is applied, and its binding; any other object as it is."""
    name = str(role["metadata"]["name"])
    if role["kind"] != "ClusterRole" or not name.startswith(PREFIX):
        return (role,)
    digest = hashlib.sha256(json.dumps(role["rules"], sort_keys=True).encode()).hexdigest()[:8]
    whole = copy.deepcopy(role)
    whole["metadata"] = {"name": f"{name}:{digest}", "labels": {LABEL: name.removeprefix(PREFIX)}}
    whole["rules"].append({"nonResourceURLs": [MARK + digest], "verbs": ["get"]})
    binding: Object = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": dict(whole["metadata"]),
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": Identity(name.removeprefix(PREFIX)).user}],
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": f"{name}:{digest}"},
    }
    return whole, binding


async def await_rights(
    client: Client, names: Iterable[str], until: Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]
) -> None:
    """Until the roles with these ``names`` count. ``until`` repeats a question until the answer is true."""

    await asyncio.gather(*(until(lambda name=name: counts(client, name)) for name in names))  # type: ignore[misc]


async def counts(client: Client, name: str) -> bool:
    """Whether the server goes by the role with that ``name``. Raises StatusError."""
    identity, _, digest = name.removeprefix(PREFIX).partition(":")
    about = {"path": MARK + digest, "verb": "get"}
    spec = {"user": Identity(identity).user, "groups": [GROUP], "nonResourceAttributes": about}
    return bool((await status_of(client, ACCESS_REVIEWS, spec)).get("allowed"))


def is_role(obj: Object) -> bool:
    return obj["kind"] == "ClusterRole" and is_right(obj)


def is_right(obj: Object) -> bool:
    """A role of a part of kcp, or its binding."""
    return LABEL in (obj["metadata"].get("labels") or {})
