"""Who somebody is, as Kubernetes puts it: the proxy knows that better than the shard, which sees mapped names."""

from __future__ import annotations

import datetime
from typing import Any

import orjson

from proxy.auth.identity import User


def user_info(user: User) -> dict[str, Any]:
    """``UserInfo`` of authentication.k8s.io/v1, with plain names."""
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def whoami_body(user: User, now: datetime.datetime) -> bytes:
    """The answer to ``kubectl auth whoami``: a SelfSubjectReview as JSON, created ``now`` (UTC)."""
    review = {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "status": {"userInfo": user_info(user)},
    }
    return orjson.dumps(review, option=orjson.OPT_APPEND_NEWLINE)
