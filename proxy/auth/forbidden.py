"""The words of a 403, as k8s.io/apiserver's ``responsewriters.Forbidden`` says them, with plain names."""

from __future__ import annotations

from typing import Any

from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo


def forbidden(user: User, info: RequestInfo, suffix: str = "") -> StatusError:
    """The Status for ``user`` not being allowed ``info``; ``suffix`` says why, where there is more to say."""
    tail = f": {suffix}" if suffix else ""
    if not info.is_resource:
        return StatusError(403, f'forbidden: User "{user.name}" cannot {info.verb} path "{info.path}"{tail}')
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    scope = f'in the namespace "{info.namespace}"' if info.namespace else "at the cluster scope"
    what = f'User "{user.name}" cannot {info.verb} resource "{resource}" in API group "{info.group}" {scope}{tail}'
    qualified = f"{info.resource}.{info.group}" if info.group else info.resource
    subject = f'{qualified} "{info.name}"' if info.name else qualified
    details: dict[str, Any] = {}
    if info.name:
        details["name"] = info.name
    if info.group:
        details["group"] = info.group
    details["kind"] = info.resource
    return StatusError(403, f"{subject} is forbidden: {what}", details=details)


def no_entry(user: User, info: RequestInfo, path: str) -> StatusError:
    """May not enter the workspace; the same words whether it exists or not."""
    return forbidden(user, info, f'"{path}" workspace access not permitted')
