"""Whether a history can have been one of a store that loses nothing, in which every change has a version of its own.

Each function returns what is wrong, a line for each fault; all of it is pure.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.history.record import Event, History, Key, Listing, Outcome, Run, Seen, Write

DELETED, BOOKMARK = "DELETED", "BOOKMARK"


@dataclass(slots=True)
class Truth:
    """All changes that anybody knows of, by what writers were told and what others saw."""

    by_version: dict[int, tuple[Key, str | None]] = field(default_factory=dict)
    """The value, or None for a deletion."""
    by_key: dict[Key, list[tuple[int, str | None]]] = field(default_factory=lambda: defaultdict(list))
    """Versions and values, in order. Of a deletion that only shows by its effect the version is the latest possible."""
    unseen: dict[Key, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Those deletions: the version that is gone, and the one by which it was."""
    faults: list[str] = field(default_factory=list)

    def add(self, version: int, key: Key, value: str | None, told: str) -> None:
        known = self.by_version.setdefault(version, (key, value))
        if known != (key, value):
            self.faults.append(f"version {version} is {known} and, for {told}, {(key, value)}")

    def at(self, key: Key, version: int) -> Seen | None:
        """What there is of an object at that version of the store."""
        changes = self.by_key.get(key, [])
        place = bisect_right(changes, version, key=lambda change: change[0])
        if not place:
            return None
        found, value = changes[place - 1]
        return None if value is None else Seen(found, value)

    def gone(self, key: Key, version: int) -> None:
        """Somebody knows that there is nothing at that version. To be told in the order of versions."""
        there = self.at(key, version)
        if there is not None:
            self.unseen[key].append((there.version, version))
            insort(self.by_key[key], (version, None), key=lambda change: change[0])


def check(history: History) -> list[str]:
    """All faults of a history."""
    truth = truth_of(history)
    return [
        *history.wrong,
        *truth.faults,
        *values(history),
        *versions(history.writes),
        *written_once(history.writes, truth),
        *deletions(history, truth),
        *preconditions(history.writes, truth),
        *(fault for listing in listings(history) for fault in listed(listing, truth)),
        *stale(history),
        *(fault for watcher in history.watchers for fault in watched(watcher, truth)),
    ]


def truth_of(history: History) -> Truth:
    truth = Truth()
    for write in history.writes:
        if write.version is not None:
            truth.add(write.version, write.key, write.value, f"who wrote {write.value}")
    for number, watcher in enumerate(history.watchers):
        for event in _changes(watcher):
            assert event.key is not None
            value = None if event.kind == DELETED else event.value
            truth.add(event.version, event.key, value, f"watcher {number}")
    for listing in listings(history):
        for key, seen in listing.items.items():
            truth.add(seen.version, key, seen.value, "who lists")
    for read in history.reads:
        if read.seen is not None:
            truth.add(read.seen.version, read.key, read.seen.value, "who reads")
    for version, (key, value) in sorted(truth.by_version.items()):
        truth.by_key[key].append((version, value))
    absent = [
        (listing.version, key)
        for listing in listings(history)
        for key in truth.by_key
        if listing.scope.holds(key) and key not in listing.items
    ]
    absent += [
        (write.version - 1, write.key)
        for write in history.writes
        if write.verb == "create" and write.version is not None
    ]
    for version, key in sorted(absent):
        truth.gone(key, version)
    return truth


def values(history: History) -> Iterator[str]:
    """Whatever is seen was written, there, before it is seen, and was not refused."""
    writes = {write.value: write for write in history.writes if write.value}
    for key, seen, at in _seen(history):
        write = writes.get(seen.value)
        if write is None or write.key != key:
            yield f"{key} has value {seen.value!r} in version {seen.version}, which nobody wrote there"
        elif write.outcome is Outcome.REFUSED:
            yield f"{key} has value {seen.value!r} in version {seen.version}, the {write.verb} of which was refused"
        elif at < write.began:
            yield f"{key} has value {seen.value!r} before that was written"
        elif write.version is not None and write.version != seen.version:
            yield f"{key} has value {seen.value!r} in version {seen.version}, written in {write.version}"


def versions(writes: Iterable[Write]) -> Iterator[str]:
    """They rise: a write that began when another one was acknowledged has a greater one."""
    told = sorted((write for write in writes if write.version is not None), key=lambda write: write.ended)
    ends = [write.ended for write in told]
    greatest = _greatest(told)
    for write in told:
        assert write.version is not None
        before = bisect_right(ends, write.began)
        if before and greatest[before - 1] >= write.version:
            yield f"version {write.version} of {write.value!r} came after {greatest[before - 1]}"


def written_once(writes: Iterable[Write], truth: Truth) -> Iterator[str]:
    """A value comes into being in one version."""
    counts = Counter(value for _, value in truth.by_version.values() if value is not None)
    for value, count in counts.items():
        if count > 1:
            yield f"value {value!r} was written {count} times"
    known = set(counts)
    for write in writes:
        if write.outcome is Outcome.ACKNOWLEDGED and write.value and write.value not in known:
            yield f"value {write.value!r} was acknowledged, without a version"


def deletions(history: History, truth: Truth) -> Iterator[str]:
    """As many as were acknowledged, and no more than may have been done.

    One that no watcher was told of lies where none was watching: between the last that one knew and its next list.
    """
    asked: dict[Key, list[Write]] = defaultdict(list)
    hidden: Counter[Key] = Counter()  # whatever makes an object anew, and does not show that there was none
    for write in history.writes:
        if write.verb == "delete" and write.outcome is not Outcome.REFUSED:
            asked[write.key].append(write)
        elif write.outcome is Outcome.UNKNOWN if write.verb == "create" else write.verb == "apply":
            hidden[write.key] += 1
    done = Counter(key for key, value in truth.by_version.values() if value is None)
    for key, unseen in truth.unseen.items():
        done[key] += len(unseen)
        for there, gone in unseen:
            for run in (run for watcher in history.watchers for run in watcher if run.listing.scope.holds(key)):
                listed_there = key in run.listing.items and run.listing.items[key].version == there
                if (run.listing.version <= there or listed_there) and run.covered >= gone:
                    yield (
                        f"{key} of version {there} was gone at {gone}, of which watch of {run.listing.scope} "
                        f"from {run.listing.version} knows nothing"
                    )
    for key in asked.keys() | done.keys():
        least = sum(write.outcome is Outcome.ACKNOWLEDGED for write in asked[key]) - hidden[key]
        if not least <= done[key] <= len(asked[key]):
            yield f"{key} was deleted {done[key]} times; {least} were acknowledged, {len(asked[key])} asked for"


def preconditions(writes: Iterable[Write], truth: Truth) -> Iterator[str]:
    """An update that rests on a version was made to that version and no other one."""
    for write in writes:
        if write.rests_on is None or write.version is None:
            continue
        before = truth.at(write.key, write.version - 1)
        if before is None or before.version != write.rests_on:
            yield f"{write.value!r} rests on version {write.rests_on}, and was written over {before}"


def listings(history: History) -> Iterator[Listing]:
    yield from history.listings
    for watcher in history.watchers:
        for run in watcher:
            yield run.listing


def listed(listing: Listing, truth: Truth) -> Iterator[str]:
    """A list is the state at its version, whole."""
    for key in [key for key in truth.by_key if listing.scope.holds(key)]:
        wanted, found = truth.at(key, listing.version), listing.items.get(key)
        if wanted != found:
            yield f"list of {listing.scope} at {listing.version}: {key} is {found}, not {wanted}"
    for key in listing.items:
        if not listing.scope.holds(key):
            yield f"list of {listing.scope} holds {key}"
        elif key not in truth.by_key:
            yield f"list of {listing.scope} holds {key}, of which nobody else knows"


def stale(history: History) -> Iterator[str]:
    """Who asks for the newest state gets all that was acknowledged before."""
    told = sorted((write for write in history.writes if write.version is not None), key=lambda write: write.ended)
    ends, greatest = [write.ended for write in told], _greatest(told)
    for listing in listings(history):
        before = bisect_right(ends, listing.began)
        if listing.fresh and before and listing.version < greatest[before - 1]:
            yield f"list of {listing.scope} at {listing.version}, after {greatest[before - 1]} was acknowledged"
    by_key: dict[Key, list[Write]] = defaultdict(list)
    for write in told:
        by_key[write.key].append(write)
    deleted: dict[Key, list[Write]] = defaultdict(list)
    for write in history.writes:
        if write.verb == "delete" and write.outcome is not Outcome.REFUSED:
            deleted[write.key].append(write)
    for read in history.reads:
        of_key = by_key[read.key]
        before = bisect_right([write.ended for write in of_key], read.began)
        if not before:
            continue
        newest = max(of_key[:before], key=lambda write: write.version or 0)
        assert newest.version is not None
        if read.seen is None:
            if not any(write.ended > newest.began and write.began < read.ended for write in deleted[read.key]):
                yield f"{read.key} is not there, although {newest.value!r} was acknowledged and nobody deleted it"
        elif read.seen.version < newest.version:
            yield f"{read.key} is {read.seen}, after version {newest.version} was acknowledged"


def watched(watcher: list[Run], truth: Truth) -> Iterator[str]:
    """Each run shows every change after its list once and in order; and the last one shows the end."""
    covered, number = 0, 0
    scope = watcher[0].listing.scope
    for number, run in enumerate(watcher):
        name = f"watch of {scope} from {run.listing.version}, run {number}"
        if run.listing.version < covered:
            yield f"{name}: version {covered} was known before"
        covered = run.covered
        yield from _in_order(name, run)
        told = Counter(event.version for event in _changes([run]))
        wanted = {
            version
            for version, (key, _) in truth.by_version.items()
            if run.listing.version < version <= covered and scope.holds(key)
        }
        for version, times in told.items():
            if times > 1:
                yield f"{name}: version {version} came {times} times"
        for version in sorted(wanted - told.keys()):
            yield f"{name}: version {version}, {truth.by_version[version]}, is missing"
        for event in _changes([run]):
            assert event.key is not None
            if not scope.holds(event.key):
                yield f"{name}: {event}"
        yield from _kinds(name, run)
    if not ended(watcher, truth):
        yield f"watch of {scope}, run {number}: ends at {covered}, and there is more"


def ended(watcher: list[Run], truth: Truth) -> bool:
    """Whether it knows all that anybody knows."""
    scope = watcher[-1].listing.scope
    return watcher[-1].covered >= max(
        (version for version, (key, _) in truth.by_version.items() if scope.holds(key)), default=0
    )


def _in_order(name: str, run: Run) -> Iterator[str]:
    before = run.listing.version
    for event in run.events:
        if event.version < before or (event.version == before and event.kind != BOOKMARK):
            yield f"{name}: {event.kind} {event.version} came after {before}"
        before = max(before, event.version)


def _kinds(name: str, run: Run) -> Iterator[str]:
    """What is added was not there; what is changed or deleted was."""
    there = set(run.listing.items)
    for event in _changes([run]):
        assert event.key is not None
        if (event.key in there) is (event.kind == "ADDED"):
            state = "there" if event.key in there else "not there"
            yield f"{name}: {event.kind} {event.version}, but {event.key} was {state}"
        (there.discard if event.kind == DELETED else there.add)(event.key)


def _changes(runs: Iterable[Run]) -> Iterator[Event]:
    for run in runs:
        for event in run.events:
            if event.kind != BOOKMARK:
                yield event


def _seen(history: History) -> Iterator[tuple[Key, Seen, float]]:
    for listing in listings(history):
        for key, seen in listing.items.items():
            yield key, seen, listing.ended
    for read in history.reads:
        if read.seen is not None:
            yield read.key, read.seen, read.ended
    for watcher in history.watchers:
        for event in _changes(watcher):
            if event.kind != DELETED:
                assert event.key is not None
                yield event.key, Seen(event.version, event.value), event.at


def _greatest(writes: list[Write]) -> list[int]:
    """Of the versions up to each."""
    greatest, found = 0, []
    for write in writes:
        greatest = max(greatest, write.version or 0)
        found.append(greatest)
    return found
