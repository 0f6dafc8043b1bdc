"""``--as``: acting as somebody else inside one workspace.

Follows k8s.io/apiserver's impersonation filter: the verb ``impersonate`` on users or serviceaccounts, groups, uids and
``userextras/KEY`` must be allowed for every name that is asked for. The result exists in this workspace alone and never
carries rights over the proxy.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.auth.authorizer import Access
from proxy.auth.forbidden import forbidden
from proxy.auth.identity import (
    ANONYMOUS,
    AUTHENTICATED,
    EXTRA_HEADER,
    GROUP_HEADER,
    MASTERS,
    UNAUTHENTICATED,
    USER_HEADER,
    User,
    can_be_named,
)
from proxy.kube.errors import StatusError
from proxy.mapping.names import SERVICE_ACCOUNT
from proxy.mapping.paths import RequestInfo
from proxy.mapping.request import Attributes
from proxy.tenancy.index import Workspace

UID = b"impersonate-uid"
AUTHENTICATION = "authentication.k8s.io"
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_ACCOUNT = re.compile(rf"{SERVICE_ACCOUNT}(?P<namespace>{_LABEL}):(?P<name>{_LABEL}(?:\.{_LABEL})*)\Z")

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Impersonation:
    """What a request's headers ask for."""

    user: User
    """Whom to act as."""
    needed: tuple[Attributes, ...]
    """What the impersonator must be allowed. Names are plain but for the namespace: these are no objects of a shard."""


def impersonation(headers: Sequence[Header], workspace: Workspace) -> Impersonation | None:
    """What the headers ask for; None without any that does. Raises StatusError 400 for headers that make no sense."""
    values: dict[bytes, list[str]] = {}
    for key, value in headers:
        if key.startswith(b"impersonate-"):
            values.setdefault(key, []).append(_text(value))
    if not values:
        return None
    users = [name for name in values.pop(USER_HEADER, ()) if name]
    groups = tuple(values.pop(GROUP_HEADER, ()))
    uid = values.pop(UID, [""])[0]
    extra = {}
    for key, texts in values.items():
        if not key.startswith(EXTRA_HEADER) or key == EXTRA_HEADER:
            raise StatusError(400, f"unknown impersonation header: {_text(key)}")
        extra[urllib.parse.unquote(_text(key[len(EXTRA_HEADER) :]))] = tuple(texts)
    if not users and not groups and not uid and not extra:
        return None
    if not users:
        raise StatusError(400, "requested groups, uid or extra without impersonating a user")
    if len(users) > 1:
        raise StatusError(400, "requested more than one user to impersonate")
    name = users[0]
    account = _ACCOUNT.match(name)
    needed = tuple(_needed(name, account, groups, uid, extra, workspace.prefix))
    user = User(
        name, _all_groups(name, account, groups), uid, tuple(sorted(extra.items())), workspace_token=workspace.token
    )
    return Impersonation(user, needed)


def access_of(impersonated: User, impersonator: Access) -> Access:
    """How far an impersonated user may go: as the workspace's administrator only by an administrator's leave."""
    return Access.ADMIN if impersonator is Access.ADMIN and MASTERS in impersonated.groups else Access.ACCESS


def refused(user: User, attributes: Attributes, workspace: Workspace) -> StatusError:
    """The 403 for one of `Impersonation.needed` that ``user`` is not allowed."""
    info = RequestInfo(
        verb=attributes.verb,
        group=attributes.group,
        version="v1",
        resource=attributes.resource,
        subresource=attributes.subresource,
        namespace=attributes.namespace.removeprefix(workspace.prefix),
        name=attributes.name,
        is_resource=True,
    )
    return forbidden(user, info)


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise StatusError(400, "impersonation headers must be UTF-8") from None
    if not can_be_named(text):
        raise StatusError(400, "impersonation headers must be printable")
    return text


def _needed(
    name: str,
    account: re.Match[str] | None,
    groups: tuple[str, ...],
    uid: str,
    extra: dict[str, tuple[str, ...]],
    prefix: str,
) -> Iterator[Attributes]:
    def to(resource: str, name: str, *, group: str = "", subresource: str = "", namespace: str = "") -> Attributes:
        return Attributes("impersonate", group, resource, subresource, namespace, name, True, "")

    if account:
        yield to("serviceaccounts", account["name"], namespace=prefix + account["namespace"])
    else:
        yield to("users", name)
    for group in groups:
        yield to("groups", group)
    for key, values in extra.items():
        for value in values:
            yield to("userextras", value, group=AUTHENTICATION, subresource=key)
    if uid:
        yield to("uids", uid, group=AUTHENTICATION)


def _all_groups(name: str, account: re.Match[str] | None, groups: tuple[str, ...]) -> tuple[str, ...]:
    """With those that come by themselves; they need no leave."""
    if account and not groups:
        groups = (SERVICE_ACCOUNT.rstrip(":") + "s", f"{SERVICE_ACCOUNT.rstrip(':')}s:{account['namespace']}")
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    return groups if AUTHENTICATED in groups or UNAUTHENTICATED in groups else (*groups, AUTHENTICATED)
