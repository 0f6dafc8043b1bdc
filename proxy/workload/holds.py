"""Which objects have a syncer's finalizer from the moment at which they are made. Pure.

A deletion above waits for the cluster then, even if nothing of the object is there yet; so it is said only of clusters
whose syncer tells that it takes such finalizers away, and whose return is still expected where they are not Ready.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

from proxy.kube.client import Object
from proxy.workload.decision import not_ready_since

HELD = "held.workload.kcp.dev/"
"""Before the name of a cluster: annotation of a namespace, the resources (``plural[.group]``, with commas between)
whose objects get the finalizer of that cluster's syncer; an admission policy of the shard goes by it."""
MOST = 8192
"""Characters of it. A syncer that tells of more sets its finalizers itself."""


def holds(
    names: Iterable[str], clusters: Mapping[str, Object], patience: datetime.timedelta, moment: datetime.datetime
) -> tuple[dict[str, str], float | None]:
    """Annotations of a namespace that runs on the clusters with these ``names``, and seconds until they may be others
    though nothing else changes; ``patience``: how long a cluster that is not Ready is waited for."""
    found, waits = {}, []
    for name in names:
        cluster = clusters.get(name)
        if cluster is None or cluster["metadata"].get("deletionTimestamp"):
            continue
        silent = not_ready_since(cluster)
        left = (silent + patience - moment).total_seconds() if silent is not None else None
        if left is not None and left > 0:
            waits.append(left + 0.1)
        value = ",".join(held_by(cluster))
        if value and len(value) <= MOST and (left is None or left > 0):
            found[HELD + name] = value
    return found, min(waits, default=None)


def held_by(cluster: Object) -> list[str]:
    return sorted((cluster.get("status") or {}).get("heldResources") or ())


def changed(annotations: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The patch of a namespace's ``annotations`` that makes them say what is ``wanted``, and no more of the kind."""
    gone = {key: None for key in annotations if key.startswith(HELD) and key not in wanted}
    return gone | {key: value for key, value in wanted.items() if annotations.get(key) != value}
