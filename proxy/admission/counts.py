"""What webhooks of workspaces have answered, and how long that took."""

from __future__ import annotations

ALLOWED, DENIED, FAILED = RESULTS = "allowed", "denied", "failed"
MUTATING, VALIDATING, CONVERTING = TYPES = "mutating", "validating", "converting"
BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0)
"""Seconds; as kube-apiserver's ``apiserver_admission_webhook_admission_duration_seconds``."""


class Counts:
    """Plain numbers of one worker."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, ...], float] = {(kind, result): 0 for kind in TYPES for result in RESULTS}
        """By type and result."""
        self.durations: dict[tuple[str, ...], list[float]] = {(kind,): [0.0] * (len(BOUNDS) + 2) for kind in TYPES}
        """By type: how many took at most so long, more than all bounds, and seconds in all."""

    def add(self, kind: str, result: str, seconds: float) -> None:
        self.results[kind, result] += 1
        counts = self.durations[(kind,)]
        counts[sum(seconds > bound for bound in BOUNDS)] += 1
        counts[-1] += seconds
