"""Events of the workspace (core v1) that say what the controllers decide; nothing depends on their being written."""

from __future__ import annotations

import hashlib
import logging

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.workload.api import stamp

log = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events")
SOURCE = "kcp-workload"


async def tell(
    client: Client, subject: Object, namespace: str, reason: str, message: str, *, warning: bool = False
) -> None:
    """Write an Event, or count one up that says the same. ``subject``: an ObjectReference with names as on the shard,
    and a uid; the Event stands in ``namespace``, which is said to be that of the subject, as the API demands."""
    words = f"{subject['uid']}/{reason}/{message}"
    name = f"{subject['name'][:200]}.{hashlib.sha256(words.encode()).hexdigest()[:16]}"
    now = stamp()
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {**subject, "namespace": namespace},
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "message": message[:1000],
        "source": {"component": SOURCE},
        "reportingComponent": SOURCE,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        try:
            await client.create(EVENTS, event)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            found = await client.get(EVENTS, name, namespace)
            again = {"count": int(found.get("count") or 1) + 1, "lastTimestamp": now}
            await client.patch(EVENTS, name, again, namespace)
    except StatusError as error:
        log.debug("event %s about %s: %s", reason, subject["name"], error)
