"""Kubernetes Status errors: the one way in which everything here says no.

Shapes follow ``k8s.io/apimachinery/pkg/api/errors`` (reason, code, details) so that clients branch on them as they
would with a kube-apiserver.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed",
    406: "NotAcceptable", 409: "Conflict", 410: "Expired", 413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError",
    503: "ServiceUnavailable", 504: "Timeout",
}  # fmt: skip


BARE = frozenset({400, 401, 406, 410, 413, 415})
"""Codes of errors that apimachinery makes without details, if none are given."""


class StatusError(Exception):
    """A Kubernetes ``Status`` of ``status: Failure`` as an exception.

    Raised by the mapping and the authorizer to refuse a request and by the client for an answer of 400 or above.
    ``details`` is the Status' own field (``{"name":…, "group":…, "kind":…, "causes":[…], "retryAfterSeconds":…}``).
    """

    def __init__(
        self, code: int, message: str, *, reason: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = REASONS.get(code, "") if reason is None else reason
        self.details: dict[str, Any] = details or {}
        self._bare = details is None and code in BARE

    @property
    def causes(self) -> list[dict[str, Any]]:
        """``details.causes``; empty where there are none."""
        causes = self.details.get("causes")
        return causes if isinstance(causes, list) else []

    @classmethod
    def of_body(cls, code: int, body: Any) -> StatusError:
        """The error in an API server's answer; ``body`` is its decoded JSON, or text where it sent no Status."""
        if isinstance(body, dict) and body.get("kind") == "Status":
            return cls(
                code,
                str(body.get("message") or ""),
                reason=str(body.get("reason") or ""),
                details=body.get("details"),
            )
        return cls(code, str(body)[:1000].strip() or f"HTTP {code}")

    def status(self) -> dict[str, Any]:
        """The Status object, keys in the order a kube-apiserver prints them."""
        details = {} if self._bare else {"details": self.details}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            **details,
            "code": self.code,
        }


def not_found(resource: str, name: str, group: str = "") -> StatusError:
    """As apierrors.NewNotFound: ``workspaces.tenancy.kcp.dev "x" not found``."""
    qualified = f"{resource}.{group}" if group else resource
    details = {"name": name, "kind": resource} | ({"group": group} if group else {})
    return StatusError(404, f'{qualified} "{name}" not found', details=details)


async def ignoring(code: int, call: Awaitable[T]) -> T | None:
    """What ``call`` gives; None for an answer of ``code``, or of 409, which means that somebody else acted."""
    try:
        return await call
    except StatusError as error:
        if error.code not in (code, 409):
            raise
    return None
