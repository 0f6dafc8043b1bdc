"""``--as``: acting as somebody else inside one workspace.

Follows k8s.io/apiserver's impersonation filter: the verb ``impersonate`` on users, groups, serviceaccounts (and
``userextras/<key>``, ``uids`` of authentication.k8s.io) must be allowed for every name. The result exists in this
workspace alone and never carries rights over the proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from proxy.auth.forbidden import forbidden
from proxy.auth.identity import AUTHENTICATED, UNAUTHENTICATED, User
from proxy.kube.errors import StatusError
from proxy.mapping.names import map_group, map_user
from proxy.mapping.paths import RequestInfo
from proxy.mapping.request import Attributes
from proxy.tenancy.index import Workspace

SERVICE_ACCOUNT = "system:serviceaccount:"
EXTRA = b"impersonate-extra-"

Header = tuple[bytes, bytes]
Check = Callable[[Attributes], bool | Awaitable[bool]]


def is_impersonating(headers: Sequence[Header]) -> bool:
    return any(name.startswith(b"impersonate-") for name, _ in headers)


def impersonated(user: User, headers: Sequence[Header], workspace: Workspace) -> User:
    """Whom the headers name. Raises StatusError 400 for headers without a user."""
    values: dict[bytes, list[str]] = {}
    for key, value in headers:
        if key.startswith(b"impersonate-"):
            values.setdefault(key, []).append(value.decode("utf-8", "replace"))
    names = values.pop(b"impersonate-user", [])
    groups = values.pop(b"impersonate-group", [])
    uid = values.pop(b"impersonate-uid", [""])[0]
    extra = {key[len(EXTRA) :].decode(): tuple(items) for key, items in values.items() if key.startswith(EXTRA)}
    if len(extra) != len(values):
        raise StatusError(400, "unknown impersonation header")
    if len(names) != 1 or not names[0]:
        raise StatusError(400, "requested groups or extra without impersonating a user")
    name = names[0]
    if not groups and name.startswith(SERVICE_ACCOUNT) and name.count(":") == 3:
        namespace = name.split(":")[2]
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    everyone = UNAUTHENTICATED if name == "system:anonymous" else AUTHENTICATED
    if everyone not in groups:
        groups.append(everyone)
    return User(name, tuple(groups), uid, tuple(sorted(extra.items())), workspace_token=workspace.token)


def wanted(target: User, prefix: str) -> Iterator[Attributes]:
    """What the impersonator must be allowed, as mapped attributes."""

    def to(resource: str, name: str, *, group: str = "", subresource: str = "", namespace: str = "") -> Attributes:
        return Attributes("impersonate", group, resource, subresource, namespace, name, True, "")

    if target.name.startswith(SERVICE_ACCOUNT) and target.name.count(":") == 3:
        _, _, namespace, name = target.name.split(":")
        yield to("serviceaccounts", name, namespace=prefix + namespace)
    else:
        yield to("users", map_user(target.name, prefix))
    for group in target.groups:
        if group not in (AUTHENTICATED, UNAUTHENTICATED):
            yield to("groups", map_group(group, prefix))
    if target.uid:
        yield to("uids", target.uid, group="authentication.k8s.io")
    for key, values in target.extra:
        for value in values:
            yield to("userextras", value, group="authentication.k8s.io", subresource=key)


def refused(user: User, attributes: Attributes, prefix: str) -> StatusError:
    """The 403 for one name that may not be impersonated."""
    name = attributes.name.replace(prefix, "", 1)
    namespace = attributes.namespace.removeprefix(prefix)
    info = RequestInfo(
        verb="impersonate",
        group=attributes.group,
        version="v1",
        resource=attributes.resource,
        subresource=attributes.subresource,
        namespace=namespace,
        name=name,
        query=[],
        is_resource=True,
        path="",
    )
    return forbidden(user, info)
