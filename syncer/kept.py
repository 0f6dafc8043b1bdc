"""What is kept in memory of objects on either side: enough to decide, and the rest as bytes until it is needed.

Decoded JSON takes ten times its size; with ten thousand objects that is the difference between 60 MiB and half a GiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from syncer.names import CLUSTER_LABEL, FINALIZERS, MANAGER, UID, finalizer
from syncer.role import STATUS
from syncer.transform import skipped

Object = dict[str, Any]

LEFT_OUT = frozenset({"apiVersion", "kind", "metadata", "status"})
"""Of an object's content: lists leave out the first two, and both sides have their own status."""
NOTHING = b"{}"


def above(plural: str, cluster: str) -> Callable[[Object], Object]:
    """What is kept of an object of the workspace:

    ``namespace``, ``name``, ``uid``, ``version``, ``generation``, ``deleting``; ``finalizers`` and whether ours is one
    of them (``held``); ``skip``, if it never goes down; ``content`` (JSON, for `transform.down`) and its ``digest``;
    ``status`` (JSON); ``told``, what its annotation says of its status on this cluster.
    """
    mine = finalizer(cluster)

    def keep(obj: Object) -> Object:
        meta = obj["metadata"]
        annotations = meta.get("annotations") or {}
        told = {key: meta[key] for key in ("name", "namespace", "uid", "labels") if key in meta}
        told["annotations"] = {key: value for key, value in annotations.items() if not key.startswith(STATUS)}
        content = packed({**{key: value for key, value in obj.items() if key not in LEFT_OUT}, "metadata": told})
        finalizers = meta.get("finalizers") or ()
        return {
            **_both(meta),
            "finalizers": finalizers,
            "held": mine in finalizers,
            "skip": skipped(plural, obj),
            "content": content,
            "digest": _digest(content),
            "status": packed(obj.get("status") or {}),
            "told": annotations.get(STATUS + cluster),
        }

    return keep


def below(cluster: str) -> Callable[[Object], Object]:
    """What is kept of an object of the cluster:

    ``namespace``, ``name``, ``uid``, ``version``, ``generation``, ``deleting``; ``stands``, the uid of the object above
    that it stands for; ``mine``, whether this syncer made it; ``digest`` of what is the syncer's to keep: all but its
    status and what changes with each write; ``status`` (JSON); ``replicas`` that its spec asks for.
    """

    def keep(obj: Object) -> Object:
        meta = obj["metadata"]
        told = {key: meta[key] for key in ("labels", "annotations", "generation", "uid") if key in meta}
        content = {**{key: value for key, value in obj.items() if key not in LEFT_OUT}, "metadata": told}
        return {
            **_both(meta),
            "stands": (meta.get("annotations") or {}).get(UID),
            "mine": is_mine(meta, cluster),
            "digest": _digest(packed(content)),
            "status": packed(obj.get("status") or {}),
            "replicas": spec.get("replicas", 1) if isinstance(spec := obj.get("spec"), dict) else 1,
        }

    return keep


def _both(meta: Object) -> Object:
    return {
        "namespace": meta.get("namespace", ""),
        "name": meta["name"],
        "uid": meta["uid"],
        "version": meta["resourceVersion"],
        "generation": meta.get("generation"),
        "deleting": "deletionTimestamp" in meta,
    }


def is_mine(meta: Object, cluster: str) -> bool:
    """Whether the object below with that metadata was made by the syncer for ``cluster``.

    Controllers copy labels to what they make (Endpoints have those of their Service): the label alone says nothing.
    """
    if (meta.get("labels") or {}).get(CLUSTER_LABEL, cluster) != cluster:
        return False
    if UID in (meta.get("annotations") or {}) and CLUSTER_LABEL in (meta.get("labels") or {}):
        return True
    return any(
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
        for entry in meta.get("managedFields") or ()
    )


def holders(meta: Object) -> list[str]:
    """Names of the WorkloadClusters whose syncers hold the object above with that metadata."""
    return [name[len(FINALIZERS) :] for name in meta.get("finalizers") or () if name.startswith(FINALIZERS)]


def packed(value: Object) -> bytes:
    """JSON that takes no more memory than it has bytes: orjson's own answer keeps the buffer that it was written into,
    a kilobyte for ``{}`` and twice as much as is needed for much else."""
    return bytes(memoryview(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))) if value else NOTHING


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
