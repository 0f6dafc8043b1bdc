"""What a namespace's labels say about one cluster: docs/workloads.md. Pure."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any

from proxy.kube.digest import digest
from syncer.jsonpatch import PatchError, patched
from syncer.names import CLUSTER_LABEL

Object = dict[str, Any]

SEVERAL = "Several"
"""Value of the cluster label where a namespace has to do with more than one; no cluster can have that name."""
STATE = "state.workload.kcp.dev/"
"""Before the name of a cluster: label of such a namespace, what it is to that cluster."""
SYNC, LEAVE = "Sync", "Leave"
MOVE = "workloads.kcp.dev/move"
"""Annotation of a namespace: identity of the move that is going on."""
REPLICAS = "workloads.kcp.dev/replicas"
"""Annotation of a namespace or an object: `SPLIT` or `REPEAT`."""
SPLIT, REPEAT = "Split", "Repeat"
SPEC_DIFF = "experimental.spec-diff.workload.kcp.dev/"
STATUS = "experimental.status.workload.kcp.dev/"
"""Before the name of a cluster: annotations of objects, about that cluster alone."""


class Mode(enum.Enum):
    AWAY = "nothing of it is to be here"
    ALONE = "runs here and nowhere else"
    SHARED = "runs here, others have to do with it too"
    LEAVING = "runs here until it runs elsewhere"


@dataclass(frozen=True, slots=True)
class Role:
    """One cluster's part in a namespace."""

    mode: Mode
    clusters: tuple[str, ...] = ()
    """Those that it runs on, by name, where it is shared."""
    replicas: str = SPLIT
    move: str = ""


AWAY = Role(Mode.AWAY)


def selector(cluster: str) -> str:
    """Of all that may concern the cluster."""
    return f"{CLUSTER_LABEL} in ({cluster},{SEVERAL})"


def elsewhere(cluster: str) -> str:
    """Selector of all else."""
    return f"{CLUSTER_LABEL} notin ({cluster},{SEVERAL})"


def role_of(namespace: Object | None, cluster: str) -> Role:
    """The part of ``cluster`` in a namespace of the workspace, None for one that is gone."""
    if namespace is None:
        return AWAY
    meta = namespace["metadata"]
    labels = meta.get("labels") or {}
    if labels.get(CLUSTER_LABEL) == cluster:
        return Role(Mode.ALONE)
    state = labels.get(STATE + cluster)
    if labels.get(CLUSTER_LABEL) != SEVERAL or state not in (SYNC, LEAVE):
        return AWAY
    annotations = meta.get("annotations") or {}
    clusters = sorted(key[len(STATE) :] for key, value in labels.items() if key.startswith(STATE) and value == SYNC)
    return Role(
        Mode.SHARED if state == SYNC else Mode.LEAVING,
        tuple(clusters),
        annotations.get(REPLICAS, SPLIT),
        annotations.get(MOVE, ""),
    )


def adapt(wanted: Object, above: Object, role: Role, cluster: str) -> None:
    """Make of the object that goes down the one that goes to this cluster. Raises PatchError."""
    annotations = above["metadata"].get("annotations") or {}
    spec = wanted.get("spec")
    if not isinstance(spec, dict):
        return
    asked = spec.get("replicas")
    policy = annotations.get(REPLICAS, role.replicas)
    if policy != REPEAT and isinstance(asked, int) and cluster in role.clusters:
        spec["replicas"] = share(asked, role.clusters, cluster)
    difference = annotations.get(SPEC_DIFF + cluster)
    if difference is None:
        return
    try:
        changed = patched(spec, json.loads(difference))
    except ValueError as error:
        raise PatchError(f"annotation {SPEC_DIFF}{cluster}: {error}") from error
    if not isinstance(changed, dict):
        raise PatchError(f"annotation {SPEC_DIFF}{cluster}: what is left is no spec")
    wanted["spec"] = changed


def share(replicas: int, clusters: tuple[str, ...], cluster: str) -> int:
    """How many of ``replicas`` run on one of ``clusters``: as even as can be, the first ones have more."""
    each, left = divmod(replicas, len(clusters))
    return each + (1 if clusters.index(cluster) < left else 0)


def status_here(status: Object, generation: int | None, spec: Any) -> str:
    """What the annotation says of an object's status on this cluster; ``generation`` of the object below, ``spec`` of
    the one above, which the object below has been made of.

    Not in terms of generations above: those of Deployments count annotations, too, this one included.
    """
    told: Object = {key: value for key, value in status.items() if key != "observedGeneration"}
    value: Object = {"spec": digest(spec), "status": told}
    if "observedGeneration" in status:
        value["current"] = status["observedGeneration"] == generation
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def runs(group: str, plural: str, generation: int | None, replicas: int, status: Object) -> bool:
    """Whether what an object below brings is available; of kinds that bring no pods for good, whether it is there.

    ``generation``, ``replicas`` (asked for) and ``status`` of the object below.
    """
    if group != "apps" or plural not in ("daemonsets", "deployments", "replicasets", "statefulsets"):
        return True
    if status.get("observedGeneration") != generation:
        return False
    if plural == "daemonsets":
        return bool(status.get("numberAvailable", 0) >= status.get("desiredNumberScheduled", 0))
    return bool(status.get("availableReplicas", 0) >= replicas)
