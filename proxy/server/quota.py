"""What is said to whoever makes one more than a workspace may have, and how many CRDs that is: each costs its shard a
MiB or two, used or not.

CRDs are counted as the worker knows them from the shard; what is being made at the moment comes on top. Types that
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
    return info.verb == "create" or applies(request, info)


def applies(request: Request, info: RequestInfo) -> bool:
    """Whether it is a patch by which an object may be made."""
    return info.verb == "patch" and request.header(b"content-type").startswith(APPLY)


def check_crds(info: RequestInfo, workspace: str, shapes: Sequence[Shape], limit: int) -> None:
    """Raises StatusError 403, as a kube-apiserver's quota, for one that is not among ``shapes`` if they are ``limit``
    already."""
    own = [f"{shape.plural}.{shape.group}" for shape in shapes if not shape.shared_group]
    if not limit or len(own) < limit or info.name in own:
        return
    raise exceeded(info, info.name, workspace, str(len(own)), str(limit))


def exceeded(info: RequestInfo, name: str, workspace: str, used: str, limited: str) -> StatusError:
    """403 as of a kube-apiserver's quota, about the object ``name`` (empty: not known) in ``workspace``, a path."""
    kind = f"{info.resource}.{info.group}" if info.group else info.resource
    subject = f'{kind} "{name}"' if name else kind
    details = {"name": name, "group": info.group, "kind": info.resource}
    message = f"{subject} is forbidden: exceeded quota of workspace {workspace}, used: {used}, limited: {limited}"
    return StatusError(403, message, details={key: value for key, value in details.items() if value})
