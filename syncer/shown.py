"""Objects that a cluster's own controllers make and that the workspace is to see, on their way up. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from syncer.kept import is_mine, packed
from syncer.names import ASKED_UP, CLUSTER_LABEL, SHOWS, SYNCED_UP, name_above
from syncer.transform import KEPT_ABOVE

Object = dict[str, Any]

PHYSICAL = re.compile(r"kcp[0-9a-f]{56}\Z")
"""What namespaces below are called: all others are of no interest."""
FOREIGN: Object = {}
"""All that is kept of an object in such a namespace."""


class Subject(NamedTuple):
    """What an object tells of, in its own namespace."""

    group: str
    kind: str
    name: str
    uid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """How objects of a kind are shown."""

    fixed: Callable[[Object], Object]
    """Fields of an object that its picture is made with: others below make another picture above."""
    moving: tuple[str, ...]
    """Names of the fields that follow."""
    subresource: str | None = None
    """To which those are written; None: to the object."""
    selector: str | None = None
    """Labels without which an object below is not shown."""
    wanted: Callable[[Object], bool] = lambda _: True
    about: str | None = None
    """Field that refers to the object that it tells of: shown is what tells of something in the workspace."""

    def moved(self, obj: Object) -> Object:
        return {name: obj[name] for name in self.moving if obj.get(name) is not None}

    def subject(self, obj: Object) -> Subject | None:
        if self.about is None:
            return None
        about = obj[self.about]
        group, _, _ = about.get("apiVersion", "").rpartition("/")
        return Subject(group, about.get("kind", ""), about.get("name", ""), about.get("uid"))


def below(cluster: str, picture: Picture) -> Callable[[Object], Object]:
    """What is kept of an object of the cluster:

    ``namespace``, ``name``, ``uid``, ``generation``, ``deleting``, ``grace`` (seconds); ``mine``, if it was brought
    from above; ``labels``, ``annotations``; ``fixed`` (JSON), and ``shows``, which changes with it; ``moving`` (JSON);
    ``subject``, what it tells of.
    """

    def keep(obj: Object) -> Object:
        meta = obj["metadata"]
        if PHYSICAL.match(meta.get("namespace", "")) is None or not picture.wanted(obj):
            return FOREIGN
        fixed = packed(picture.fixed(obj))
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
            "fixed": fixed,
            "shows": f"{meta['uid']}/{hashlib.blake2b(fixed, digest_size=12).hexdigest()}",
            "moving": packed(picture.moved(obj)),
            "subject": picture.subject(obj),
        }

    return keep


def above(picture: Picture) -> Callable[[Object], Object]:
    """What is kept of an object that shows another: ``namespace``, ``name``, ``uid``, ``version``, ``generation``,
    ``deleting``; ``labels``, ``annotations``; ``shows``; ``moving`` (JSON); ``subject``, what it tells of."""

    def keep(obj: Object) -> Object:
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
            "moving": packed(picture.moved(obj)),
            "subject": picture.subject(obj),
        }

    return keep


def is_of(shows: str | None, uid: str) -> bool:
    """Whether what a picture ``shows`` is the object below of that uid."""
    return shows is not None and shows.startswith(f"{uid}/")


def shown(kept: Object, namespace: str, owner: Object, fields: Object) -> Object:
    """The object above, with these fields, that shows the one below of which that is ``kept``; it goes with
    ``owner``."""
    return {
        **fields,
        "metadata": {
            "name": kept["name"],
            "namespace": namespace,
            "labels": kept["labels"],
            "annotations": {**kept["annotations"], SHOWS: kept["shows"]},
            "ownerReferences": [owner],
        },
    }


def _pod(obj: Object) -> Object:
    """As it is below but for its account, which has another name there, and for what no new pod can have."""
    spec = obj.get("spec") or {}
    made = {key: value for key, value in spec.items() if key not in ("ephemeralContainers", "serviceAccount")}
    account = made.get("serviceAccountName")
    if account:
        made["serviceAccountName"] = name_above("serviceaccounts", account)
    return {"spec": made}


def _secret(obj: Object) -> Object:
    return {"type": obj.get("type") or "Opaque"}


_EVENT = ("action", "eventTime", "firstTimestamp", "reason", "reportingComponent", "reportingInstance", "source")


def _event(obj: Object) -> Object:
    about = obj["involvedObject"]
    told = {key: about[key] for key in ("apiVersion", "fieldPath", "kind", "name") if key in about}
    return {"involvedObject": told, **{key: obj[key] for key in _EVENT if obj.get(key) is not None}}


_ASKED = f"{ASKED_UP}=true"
PICTURES = {
    "pods": Picture(fixed=_pod, moving=("status",), subresource="status"),
    "secrets": Picture(
        fixed=_secret,
        moving=("data", "immutable"),
        selector=_ASKED,
        wanted=lambda obj: obj.get("type") not in KEPT_ABOVE,
    ),
    "configmaps": Picture(fixed=lambda _: {}, moving=("data", "binaryData", "immutable"), selector=_ASKED),
    "events": Picture(
        fixed=_event,
        moving=("count", "lastTimestamp", "message", "series", "type"),
        about="involvedObject",
    ),
}
"""All that can be shown, by resource."""
