"""What becomes of a negotiated type."""

from __future__ import annotations

from typing import NamedTuple


class Outcome(NamedTuple):
    """Whether the workspace serves a type now; ``enforced``: by a CRD that is not ours."""

    published: bool
    reason: str = ""
    message: str = ""
    enforced: bool = False
    again: float | None = None
    """Seconds after which to look again."""


SERVED = Outcome(True)
NOT_WANTED = Outcome(False, "NotPublished", "spec.publish is false")
UNUSED = Outcome(True, "NotImported", "no cluster imports it any more: its objects can be read and deleted")
IN_USE = Outcome(True, "InUse", "spec.publish is false, but there are objects: it is served until they are gone")
