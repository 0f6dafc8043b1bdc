"""From where a namespace runs to where it is to run, step by step: docs/workloads.md, "Moving". Pure."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from proxy.kube.times import parse_time
from proxy.workload.api import AHEAD, CLUSTER_LABEL, stamp

SEVERAL = "Several"
"""Value of the cluster label where a namespace has to do with more than one; no cluster can have that name."""
STATE = "state.workload.kcp.dev/"
"""Before the name of a cluster: label of such a namespace."""
SYNC, LEAVE = "Sync", "Leave"
MOVE = "workloads.kcp.dev/move"
REPLICAS = "workloads.kcp.dev/replicas"
"""Annotations."""
PATIENCE = datetime.timedelta(minutes=10)
"""How long the old copy waits for the new one."""


@dataclass(frozen=True, slots=True)
class Where:
    """What a namespace's labels say; names in order."""

    sync: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    move: str = ""

    @property
    def label(self) -> str | None:
        """Of everything in the namespace."""
        if len(self.sync) == 1 and not self.leave and not self.move:
            return self.sync[0]
        return SEVERAL if self.sync or self.leave else None

    @property
    def states(self) -> dict[str, str]:
        """Of each cluster."""
        return dict.fromkeys(self.sync, SYNC) | dict.fromkeys(self.leave, LEAVE)


def where(labels: Mapping[str, str], annotations: Mapping[str, str]) -> Where:
    label = labels.get(CLUSTER_LABEL)
    if label != SEVERAL:
        return Where((label,) if label else ())
    states = {key.removeprefix(STATE): value for key, value in sorted(labels.items()) if key.startswith(STATE)}
    return Where(
        tuple(name for name, state in states.items() if state == SYNC),
        tuple(name for name, state in states.items() if state == LEAVE),
        annotations.get(MOVE, ""),
    )


def written(
    to: Where, labels: Mapping[str, str], annotations: Mapping[str, str], replicas: str
) -> dict[str, dict[str, str | None]]:
    """The metadata to patch so that the namespace says ``to``; empty where it does."""
    states = to.states if to.label == SEVERAL else {}
    wanted: dict[str, str | None] = {STATE + name: state for name, state in states.items()}
    wanted[CLUSTER_LABEL] = to.label
    wanted |= {key: None for key in labels if key.startswith(STATE) and key not in wanted}
    noted: dict[str, str | None] = {MOVE: to.move or None, REPLICAS: replicas if to.label == SEVERAL else None}
    patch: dict[str, dict[str, str | None]] = {}
    for name, old, new in (("labels", labels, wanted), ("annotations", annotations, noted)):
        changed = {key: value for key, value in new.items() if old.get(key) != value}
        if changed:
            patch[name] = changed
    return patch


def step(
    now: Where,
    goal: tuple[str, ...],
    existing: Collection[str],
    moment: datetime.datetime,
    *,
    arrived: Callable[[str, str], bool],
    ready: Callable[[str], bool],
    patience: datetime.timedelta = PATIENCE,
) -> tuple[Where, float | None]:
    """The next state on the way to ``goal``, and seconds until to look again though nothing else happens.

    ``existing``: clusters that there are; ``arrived(cluster, move)``: whether it has told so; ``ready(cluster)``.
    """
    if goal == now.sync:
        if not now.move:
            return Where(goal), None
        begun = parse_time(now.move.partition(".")[0]) or moment
        if begun > moment + AHEAD:
            # A clock was wrong then: the old copy would wait for as long as it was.
            return replace(now, move=_identity(moment)), patience.total_seconds() + 0.1
        left = (begun + patience - moment).total_seconds()
        late = left <= 0 and all(map(ready, goal))
        if late or all(arrived(name, now.move) for name in goal):
            return Where(goal), None
        leave = tuple(name for name in now.leave if name in existing)
        return replace(now, leave=leave), max(left, 0.0) + 0.1 if left > 0 else None
    here = {*now.sync, *now.leave} & set(existing)
    if not here or not goal:
        return Where(goal), None
    return Where(goal, tuple(sorted(here - set(goal))), _identity(moment)), patience.total_seconds() + 0.1


def _identity(moment: datetime.datetime) -> str:
    """Of a move that begins then."""
    return f"{stamp(moment)}.{secrets.token_hex(4)}"


def describe(before: Where, after: Where) -> tuple[str, str] | None:
    """Reason and message of the Event that tells of a step; None where there is nothing to tell."""
    there = " and ".join(after.sync)
    if after.move and after.move != before.move:
        added = [name for name in after.sync if name not in before.sync]
        if after.leave:
            kept = " and ".join(after.leave)
            return "Moving", f"Comes to {there}; stays on {kept} until it runs there."
        return "Moving", f"Comes to {' and '.join(added) or there}."
    if before.move and not after.move and after.sync:
        left = f"; is removed from {' and '.join(before.leave)}" if before.leave else ""
        return "Moved", f"Runs on {there}{left}."
    if after.sync and after.sync != before.sync:
        return "Scheduled", f"Runs on {there}."
    if before.sync and not after.sync:
        return "Unscheduled", f"Does not run on {' and '.join(before.sync)} any more."
    return None
