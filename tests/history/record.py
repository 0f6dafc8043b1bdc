"""What is recorded of clients: writes, lists, reads and watches of ConfigMaps, each of which has one value.

Times are seconds of one monotonic clock. Every write has a value that no other one has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Key(NamedTuple):
    """Of an object."""

    workspace: str
    namespace: str
    name: str


class Scope(NamedTuple):
    """Of a list or a watch."""

    workspace: str
    namespace: str | None
    """None: all."""

    def holds(self, key: Key) -> bool:
        return key.workspace == self.workspace and self.namespace in (None, key.namespace)


class Outcome(Enum):
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    """It was answered that it was not done."""
    UNKNOWN = "unknown"
    """No answer, or one that leaves it open."""


@dataclass(slots=True)
class Write:
    """``verb``: create, update, patch, apply or delete."""

    verb: str
    key: Key
    value: str
    """Empty for a delete."""
    began: float
    rests_on: int | None = None
    """The version that must be the object's for it to be done."""
    ended: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    version: int | None = None
    """That it made; a delete's is not told."""


class Seen(NamedTuple):
    """Of an object."""

    version: int
    value: str


@dataclass(frozen=True, slots=True)
class Listing:
    scope: Scope
    began: float
    ended: float
    version: int
    items: Mapping[Key, Seen]
    fresh: bool = True
    """Whether it was asked for the newest state."""


@dataclass(frozen=True, slots=True)
class Read:
    """Of one object."""

    key: Key
    began: float
    ended: float
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Event:
    """Of a watch: ``kind`` is ADDED, MODIFIED, DELETED or BOOKMARK, which has no ``key``."""

    kind: str
    version: int
    at: float
    key: Key | None = None
    value: str = ""


@dataclass(slots=True)
class Run:
    """From a list on, until a watch was told that its version has expired: all its watches, one after the other."""

    listing: Listing
    events: list[Event] = field(default_factory=list)

    @property
    def covered(self) -> int:
        """Up to this version the client believes to know all."""
        return max([self.listing.version, *(event.version for event in self.events[-1:])])


@dataclass(slots=True)
class History:
    writes: list[Write] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)
    """But for those of watchers."""
    reads: list[Read] = field(default_factory=list)
    watchers: list[list[Run]] = field(default_factory=list)
    """Each one's runs, in order."""
    wrong: list[str] = field(default_factory=list)
    """Answers that nobody should get."""
