"""What has to be written into a quota's status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.quota.quantity import Quantity, parse
from proxy.quota.scopes import Object


def changes(quota: Object, amounts: Mapping[str, Quantity]) -> dict[str, Any] | None:
    """A merge patch of the status, which is good for that very version; None where nothing changes.

    ``amounts``: what has been counted, by key; what has not stays as it is.
    """
    hard: Mapping[str, str] = quota["spec"].get("hard") or {}
    status = quota.get("status") or {}
    limited: Mapping[str, str] = status.get("hard") or {}
    before: Mapping[str, str] = status.get("used") or {}
    used: dict[str, str | None] = {
        key: str(amount)
        for key, amount in amounts.items()
        if key in hard and (key not in before or parse(before[key]).nanos != amount.nanos)
    }
    used |= {key: None for key in before if key not in hard}
    if not used and limited == hard:
        return None
    meta = quota["metadata"]
    return {
        "metadata": {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]},
        "status": {"hard": {**hard, **{key: None for key in limited if key not in hard}}, "used": used},
    }
