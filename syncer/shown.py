"""Objects that a cluster's own controllers make and that the workspace is to see, on their way up. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import orjson

from syncer.kept import is_mine
from syncer.names import CLUSTER_LABEL, SHOWS, SYNCED_UP, name_above

Object = dict[str, Any]


PHYSICAL = re.compile(r"kcp[0-9a-f]{56}\Z")
"""What namespaces below are called: all others are of no interest."""
FOREIGN: Object = {}
"""All that is kept of an object in such a namespace."""


def below(cluster: str) -> Callable[[Object], Object]:
    """What is kept of an object of the cluster:

    ``namespace``, ``name``, ``uid``, ``generation``, ``deleting``, ``grace`` (seconds); ``mine``, if it was brought
    from above; ``labels``, ``annotations``; ``spec`` (JSON), and ``shows``, which changes with it; ``status`` (JSON).
    """

    def keep(obj: Object) -> Object:
        meta = obj["metadata"]
        if PHYSICAL.match(meta.get("namespace", "")) is None:
            return FOREIGN
        spec = orjson.dumps(_spec(obj.get("spec") or {}), option=orjson.OPT_SORT_KEYS)
        labels = {key: value for key, value in (meta.get("labels") or {}).items() if key != CLUSTER_LABEL}
        return {
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "generation": meta.get("generation"),
            "deleting": "deletionTimestamp" in meta,
            "grace": meta.get("deletionGracePeriodSeconds") or 0,
            "mine": is_mine(meta, cluster),
            "labels": {**labels, SYNCED_UP: cluster},
            "annotations": meta.get("annotations") or {},
            "spec": spec,
            "shows": f"{meta['uid']}/{hashlib.blake2b(spec, digest_size=12).hexdigest()}",
            "status": orjson.dumps(obj.get("status") or {}),
        }

    return keep


def above(obj: Object) -> Object:
    """What is kept of an object that shows another: ``namespace``, ``name``, ``uid``, ``version``, ``generation``,
    ``deleting``; ``labels``, ``annotations``; ``shows``; ``status`` (JSON)."""
    meta = obj["metadata"]
    annotations = dict(meta.get("annotations") or {})
    return {
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "version": meta["resourceVersion"],
        "generation": meta.get("generation"),
        "deleting": "deletionTimestamp" in meta,
        "labels": {key: value for key, value in (meta.get("labels") or {}).items() if key != CLUSTER_LABEL},
        "shows": annotations.pop(SHOWS, None),
        "annotations": annotations,
        "status": orjson.dumps(obj.get("status") or {}),
    }


def shown(kept: Object, namespace: str, owner: Object) -> Object:
    """The object above that shows the one below of which that is ``kept``; it goes with ``owner``."""
    return {
        "metadata": {
            "name": kept["name"],
            "namespace": namespace,
            "labels": kept["labels"],
            "annotations": {**kept["annotations"], SHOWS: kept["shows"]},
            "ownerReferences": [owner],
        },
        "spec": orjson.loads(kept["spec"]),
    }


def _spec(spec: Object) -> Object:
    """Of a pod: as it is below but for its account, which has another name there, and for what no new pod can have."""
    made = {key: value for key, value in spec.items() if key not in ("ephemeralContainers", "serviceAccount")}
    account = made.get("serviceAccountName")
    if account:
        made["serviceAccountName"] = name_above("serviceaccounts", account)
    return made
