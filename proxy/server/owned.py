"""Which requests in a parent need that the roles of its children's owners are there (`proxy.tenancy.owner_roles`)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import orjson

from proxy.auth.authorizer import Access
from proxy.auth.identity import User
from proxy.mapping.paths import RequestInfo
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.reviews import AUTHORIZATION
from proxy.server.replies import unavailable
from proxy.tenancy.index import Workspace
from proxy.tenancy.owner_roles import OwnerRoles

OF_OWNERS = frozenset({"clusterroles", "clusterrolebindings"})
LOOKS = frozenset({"list", "watch"})
WITH_RULES = frozenset({"create", "update", "patch"})
"""Of RBAC's objects: nobody gives what he does not have, says the shard."""


def make_owner_roles(
    roles: OwnerRoles, info: RequestInfo, body: bytes, user: User, access: Access, parent: Workspace
) -> Generator[Any, Any, None]:
    """Have those made that ``user``'s request in ``parent`` rests on.

    Raises StatusError 503 where they are not in time; a list then shows those that are.
    """
    if info.group not in (RBAC, AUTHORIZATION) or not roles.missing(parent):
        return
    paths = _needed(roles, info, body, user, access, parent)
    if paths and not (yield roles.make(paths)) and info.verb not in LOOKS:
        raise unavailable(parent.shard, "the roles of its workspaces' owners are being made")


def _needed(
    roles: OwnerRoles, info: RequestInfo, body: bytes, user: User, access: Access, parent: Workspace
) -> list[str]:
    if info.group == AUTHORIZATION:
        if info.resource.startswith("selfsubject"):
            return roles.of(parent, user.name) if access is not Access.ADMIN else []
        asked = _user_of(body)
        return roles.all_in(parent) if asked is None else roles.of(parent, asked)
    if info.resource in OF_OWNERS and (info.verb in LOOKS or info.verb == "deletecollection"):
        return roles.all_in(parent)
    named = roles.named(parent, info.name) if info.resource in OF_OWNERS else []
    if info.verb in WITH_RULES and access is not Access.ADMIN:
        return [*named, *roles.of(parent, user.name)]
    return named


def _user_of(review: bytes) -> str | None:
    """About whom a SubjectAccessReview asks; None where that cannot be read here."""
    try:
        return str(orjson.loads(review)["spec"].get("user", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
