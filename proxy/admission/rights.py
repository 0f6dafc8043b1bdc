"""What else somebody may do in a workspace, as an expression asks it: by the same rules as his requests."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from proxy.admission.cel.authorization import Question
from proxy.auth.authorizer import Access, Authorizer
from proxy.auth.identity import User
from proxy.discovery import Discovery, Scopes
from proxy.mapping.paths import RequestInfo
from proxy.mapping.request import Attributes, attributes_of
from proxy.tenancy.index import Workspace

T = TypeVar("T", Access, bool)


class Rights:
    """Of one worker."""

    def __init__(self, authorizer: Authorizer, discovery: Discovery) -> None:
        self._authorizer = authorizer
        self._discovery = discovery

    async def __call__(self, workspace: Workspace, user: User, asked: Question) -> bool:
        """Raises StatusError."""
        if asked.service_account is not None:
            user = _account(*asked.service_account, workspace.token)
        access = await _settled(self._authorizer.enter(user, workspace))
        if access is Access.NONE:
            return False
        if asked.path is not None:
            attributes = Attributes(asked.verb, "", "", "", "", "", False, asked.path)
        else:
            info = RequestInfo(
                asked.verb, asked.group, "*", asked.resource, asked.subresource, asked.namespace, asked.name,
                is_resource=True,
            )  # fmt: skip
            attributes = attributes_of(info, workspace.prefix, Scopes(self._discovery, workspace))
        return await _settled(self._authorizer.allowed(user, access, workspace, attributes))


def _account(namespace: str, name: str, token: str) -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return User(f"system:serviceaccount:{namespace}:{name}", groups, workspace_token=token)


async def _settled(answer: T | Awaitable[T]) -> T:
    return answer if isinstance(answer, Access | bool) else await answer
