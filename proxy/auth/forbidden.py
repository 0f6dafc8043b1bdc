"""The words of a 403, as k8s.io/apiserver's ``responsewriters.Forbidden`` says them, with plain names."""

from __future__ import annotations

import json
from typing import Any

from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.mapping.query import name_in_field_selector


def forbidden(user: User, info: RequestInfo, suffix: str = "") -> StatusError:
    """The Status for ``user`` not being allowed ``info``; ``suffix`` says why, where there is more to say."""
    tail = f": {suffix}" if suffix else ""
    who = f"User {_quoted(user.name)} cannot {info.verb}"
    if not info.is_resource:
        return StatusError(403, f"forbidden: {who} path {_quoted(info.path)}{tail}")
    name = info.name
    if not name and info.verb in ("list", "watch"):
        name = name_in_field_selector(info)
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    scope = f"in the namespace {_quoted(info.namespace)}" if info.namespace else "at the cluster scope"
    what = f"{who} resource {_quoted(resource)} in API group {_quoted(info.group)} {scope}{tail}"
    subject = f"{info.resource}.{info.group}" if info.group else info.resource
    details: dict[str, Any] = {"kind": info.resource}
    if info.group:
        details = {"group": info.group, **details}
    if name:
        subject = f"{subject} {json.dumps(name, ensure_ascii=False)}"
        details = {"name": name, **details}
    return StatusError(403, f"{subject} is forbidden: {what}", details=details)


def _quoted(text: str) -> str:
    """As Go's ``%q``, with what a browser could take for markup replaced, as the apiserver's sanitizer does."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def no_entry(user: User, info: RequestInfo, path: str) -> StatusError:
    """May not enter the workspace; the same words whether it exists or not."""
    return forbidden(user, info, f'"{path}" workspace access not permitted')
