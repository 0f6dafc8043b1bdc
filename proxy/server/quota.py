"""How many CRDs a workspace may have: each costs its shard a MiB or two, used or not.

They are counted as the worker knows them from the shard; what is being made at the moment comes on top. Types that
workspaces share do not count.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.discovery.crds import Shape
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.mapping.scopes import CRDS
from proxy.server.messages import Request

APPLY = b"application/apply-patch"


def makes_crd(request: Request, info: RequestInfo) -> bool:
    """Whether a CRD may come of it that was not there."""
    if (info.group, info.resource) != CRDS or info.subresource:
        return False
    return info.verb == "create" or (info.verb == "patch" and request.header(b"content-type").startswith(APPLY))


def check_crds(info: RequestInfo, workspace: str, shapes: Sequence[Shape], limit: int) -> None:
    """Raises StatusError 403, as a kube-apiserver's quota, for one that is not among ``shapes`` if they are ``limit``
    already."""
    own = [f"{shape.plural}.{shape.group}" for shape in shapes if not shape.shared_group]
    if not limit or len(own) < limit or info.name in own:
        return
    group, kind = CRDS
    subject = f'{kind}.{group} "{info.name}"' if info.name else f"{kind}.{group}"
    details = {**({"name": info.name} if info.name else {}), "group": group, "kind": kind}
    message = f"{subject} is forbidden: exceeded quota of workspace {workspace}, used: {len(own)}, limited: {limit}"
    raise StatusError(403, message, details=details)
