"""What is known while an expression is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.admission.cel.values import OutOfBudget

PER_CALL_LIMIT = 1_000_000
"""Cost of one evaluation of one expression (``PerCallLimit`` of kube-apiserver)."""


class Frame:
    """One evaluation: names of variables and their values, and what it has cost so far."""

    __slots__ = ("cost", "limit", "names")

    def __init__(self, names: Mapping[str, Any], limit: int = PER_CALL_LIMIT) -> None:
        self.names: dict[str, Any] = dict(names)
        self.cost = 0
        self.limit = limit

    def charge(self, cost: int) -> None:
        """Raises OutOfBudget."""
        self.cost += cost
        if self.cost > self.limit:
            raise OutOfBudget("operation cancelled: actual cost limit exceeded")


Evaluate = Callable[[Frame], Any]


class Fields:
    """What has fields that are found one by one: `variables`, say."""

    def field(self, name: str) -> Any:
        """Raises CelError, KeyError."""
        raise NotImplementedError

    def has(self, name: str) -> bool:
        """Raises CelError."""
        try:
            self.field(name)
        except KeyError:
            return False
        return True
