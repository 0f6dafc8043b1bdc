"""A server that is asked about tokens which nobody here knows.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#webhook-token-authentication
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from proxy.auth.identity import User, authenticated
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.reviews import TOKEN_REVIEWS, question

log = logging.getLogger(__name__)

TIMEOUT = 10.0


class TokenWebhook:
    """``server``: a client whose URL is the server's, complete with its path."""

    def __init__(self, server: Client) -> None:
        self._server = server

    async def review(self, token: bytes) -> User | None:
        """Whose token it is, None for nobody's. Raises StatusError 503 where that cannot be asked."""
        body = {"metadata": {}, **question(TOKEN_REVIEWS, {"token": token.decode("latin-1")})}
        try:
            review = await self._server.request("POST", "", body=body, timeout=TIMEOUT)
        except StatusError as error:
            log.warning("the token webhook: %s", error)
            why = "the server that knows tokens does not answer"
            raise StatusError(503, why, details={"retryAfterSeconds": 1}) from error
        status = review.get("status") if isinstance(review, dict) else None
        if not isinstance(status, dict) or status.get("authenticated") is not True:
            return None
        try:
            return user_of(status.get("user"))
        except ValueError as error:
            log.warning("the token webhook: %s", error)
            return None


def user_of(info: Any) -> User:
    """Raises ValueError for what is no user, or the control plane's own: nobody from outside is that, and groups of
    that kind are left out, as with issuers of tokens."""
    info = info if isinstance(info, Mapping) else {}
    name, uid = info.get("username") or "", info.get("uid") or ""
    groups, extra = info.get("groups") or [], info.get("extra") or {}
    lists = [groups, *extra.values()] if isinstance(extra, Mapping) else [None]
    texts = [name, uid, *(item for items in lists if isinstance(items, list) for item in items)]
    if not all(isinstance(items, list) for items in lists) or not all(isinstance(text, str) for text in texts):
        raise ValueError("its user is not of the form that a TokenReview has")
    if name.startswith("system:"):
        raise ValueError(f"user {name} is the control plane's")
    user = authenticated(name, tuple(group for group in groups if not group.startswith("system:")), uid)
    return replace(user, extra=tuple((key, tuple(values)) for key, values in sorted(extra.items())))
