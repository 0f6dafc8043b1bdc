"""Answer to ``kubectl auth whoami``: the proxy knows who asks better than the shard, which sees mapped names."""

from __future__ import annotations

import datetime
from typing import Any

import orjson

from proxy.auth.identity import User


def whoami_body(user: User, now: datetime.datetime) -> bytes:
    """A SelfSubjectReview of authentication.k8s.io/v1 as JSON, created ``now`` (UTC)."""
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    review = {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ")},
        "status": {"userInfo": info},
    }
    return orjson.dumps(review, option=orjson.OPT_APPEND_NEWLINE)
