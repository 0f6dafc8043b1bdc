"""The checker of histories: it finds each kind of fault, and nothing in a history without any."""

from __future__ import annotations

import pytest

from tests.history.checker import check
from tests.history.record import Event, History, Key, Listing, Outcome, Read, Run, Scope, Seen, Write

KEY, OTHER = Key("root:a", "red", "o-1"), Key("root:a", "red", "o-2")
RED, ALL = Scope("root:a", "red"), Scope("root:a", None)
DONE = Outcome.ACKNOWLEDGED


def write(
    verb: str,
    value: str,
    at: float,
    version: int | None,
    outcome: Outcome = DONE,
    *,
    key: Key = KEY,
    rests_on: int | None = None,
) -> Write:
    return Write(verb, key, value, at, rests_on, at + 0.5, outcome, version)


def listing(version: int, at: float, scope: Scope = RED, **items: tuple[int, str]) -> Listing:
    found = {Key("root:a", "red", name.replace("_", "-")): Seen(*seen) for name, seen in items.items()}
    return Listing(scope, at, at + 0.1, version, found)


def event(kind: str, version: int, value: str = "", *, at: float = 50, key: Key = KEY) -> Event:
    return Event(kind, version, at, None if kind == "BOOKMARK" else key, value)


@pytest.fixture
def history() -> History:
    """One object is made, changed twice, deleted, and made again; two follow it, one of them with a gap."""
    writes = [
        write("create", "v-1", 1, 11),
        write("update", "v-2", 2, 12, rests_on=11),
        write("patch", "v-3", 3, None, Outcome.UNKNOWN),
        write("update", "v-4", 4, None, Outcome.REFUSED, rests_on=11),
        write("delete", "", 5, None),
        write("apply", "v-5", 6, 15),
        write("create", "v-6", 7, 16, key=OTHER),
    ]
    steady = Run(
        listing(10, 0),
        [
            event("ADDED", 11, "v-1"),
            event("BOOKMARK", 11),
            event("MODIFIED", 12, "v-2"),
            event("MODIFIED", 13, "v-3"),
            event("DELETED", 14, "v-3"),
            event("ADDED", 15, "v-5"),
            event("BOOKMARK", 15),
            event("ADDED", 16, "v-6", key=OTHER),
        ],
    )
    broken = [
        Run(listing(10, 0, ALL), [event("ADDED", 11, "v-1")]),
        Run(listing(15, 6.6, ALL, o_1=(15, "v-5")), [event("ADDED", 16, "v-6", key=OTHER)]),
    ]
    return History(
        writes,
        [
            listing(12, 2.6, o_1=(12, "v-2")),
            listing(13, 3.6, o_1=(13, "v-3")),
            listing(14, 5.6),
            listing(16, 9, o_1=(15, "v-5"), o_2=(16, "v-6")),
        ],
        [Read(KEY, 2.6, 2.7, Seen(12, "v-2")), Read(KEY, 5.6, 5.7, None)],
        [[steady], broken],
    )


def events(history: History) -> list[Event]:
    return history.watchers[0][0].events


def faults(history: History) -> str:
    found = check(history)
    assert found
    return "\n".join(found)


def test_nothing_is_found_where_nothing_is_wrong(history: History) -> None:
    assert check(history) == []


def test_a_write_that_is_lost(history: History) -> None:
    history.writes.append(write("patch", "v-7", 8, 17))
    assert "is Seen(version=15, value='v-5'), not Seen(version=17" in faults(
        History(history.writes, [*history.listings, listing(17, 9, o_1=(15, "v-5"), o_2=(16, "v-6"))])
    )


def test_a_list_that_is_older_than_an_acknowledged_write(history: History) -> None:
    history.listings.append(listing(12, 9, o_1=(12, "v-2")))
    assert "at 12, after 16 was acknowledged" in faults(history)


def test_any_state_may_be_asked_for(history: History) -> None:
    history.listings.append(Listing(RED, 9, 9.1, 12, {KEY: Seen(12, "v-2")}, fresh=False))
    assert check(history) == []


def test_a_list_that_is_not_the_state_of_its_version(history: History) -> None:
    history.listings.append(listing(16, 9, o_1=(15, "v-5")))
    assert f"{OTHER} " in faults(history)


def test_a_read_of_what_was_overwritten(history: History) -> None:
    history.reads.append(Read(KEY, 9, 9.1, Seen(12, "v-2")))
    assert "after version 15 was acknowledged" in faults(history)


def test_a_read_of_nothing_where_something_must_be(history: History) -> None:
    history.reads.append(Read(OTHER, 9, 9.1, None))
    assert "nobody deleted it" in faults(history)


@pytest.mark.parametrize("place", [0, 2, 3, 4, 5, 7])
def test_an_event_that_is_missing_or_doubled(history: History, place: int) -> None:
    told = events(history)[place]
    events(history).insert(place, told)
    assert f"version {told.version} came 2 times" in faults(history)
    del events(history)[place : place + 2]
    assert check(history)


def test_the_last_event_is_missing(history: History) -> None:
    events(history).pop()
    assert "ends at 15, and there is more" in faults(history)


def test_events_out_of_order(history: History) -> None:
    told = events(history)
    told[2], told[3] = told[3], told[2]
    assert "MODIFIED 12 came after 13" in faults(history)


def test_an_event_after_the_bookmark_that_covers_it(history: History) -> None:
    events(history).insert(2, event("BOOKMARK", 12))
    assert "MODIFIED 12 came after 12" in faults(history)


def test_a_gap_from_list_to_watch(history: History) -> None:
    history.watchers[1][1] = Run(listing(13, 6.6, ALL, o_1=(13, "v-3")), [event("ADDED", 16, "v-6", key=OTHER)])
    assert "version 14, (Key(workspace='root:a', namespace='red', name='o-1'), None), is missing" in faults(history)


def test_a_list_that_goes_back(history: History) -> None:
    history.watchers[1].append(Run(listing(12, 20, ALL, o_1=(12, "v-2")), []))
    assert "version 16 was known before" in faults(history)


def test_an_event_of_the_wrong_kind(history: History) -> None:
    events(history)[5] = event("MODIFIED", 15, "v-5")
    assert "MODIFIED 15, but" in faults(history)


def test_what_was_refused_and_done(history: History) -> None:
    events(history).append(event("MODIFIED", 17, "v-4"))
    assert "the update of which was refused" in faults(history)


def test_what_nobody_wrote(history: History) -> None:
    events(history).append(event("MODIFIED", 17, "v-99"))
    assert "which nobody wrote there" in faults(history)


def test_what_is_somebody_elses(history: History) -> None:
    history.writes.append(write("create", "v-8", 8, 17, key=Key("root:b", "red", "o-1")))
    events(history).append(event("ADDED", 17, "v-8", key=Key("root:b", "red", "o-1")))
    assert "'root:b'" in faults(history)


def test_a_write_that_was_done_twice(history: History) -> None:
    for watcher in history.watchers:
        watcher[-1].events.append(event("MODIFIED", 17, "v-5"))
    assert "'v-5' was written 2 times" in faults(history)


def test_a_version_that_does_not_rise(history: History) -> None:
    history.writes.append(write("create", "v-9", 8, 9, key=Key("root:b", "red", "o-1")))
    assert "version 9 of 'v-9' came after 16" in faults(history)


def test_an_update_over_what_it_did_not_know(history: History) -> None:
    history.writes[1].rests_on = 10
    assert "'v-2' rests on version 10" in faults(history)


def test_a_deletion_that_nobody_asked_for(history: History) -> None:
    for watcher in history.watchers:
        watcher[-1].events.append(event("DELETED", 17, key=OTHER))
    assert "was deleted 1 times; 0 were acknowledged, 0 asked for" in faults(history)


def test_a_deletion_that_was_acknowledged_and_not_done(history: History) -> None:
    history.writes.append(write("delete", "", 8, None, key=OTHER))
    assert "was deleted 0 times; 1 were acknowledged" in faults(history)


def test_two_that_are_told_different_things(history: History) -> None:
    history.watchers[1][1].events[0] = event("ADDED", 16, "v-5", key=OTHER)
    assert "version 16 is" in faults(history)


def test_a_deletion_where_nobody_was_watching(history: History) -> None:
    history.writes.append(write("delete", "", 8, None, key=OTHER))
    history.listings.append(listing(18, 10, o_1=(15, "v-5")))
    history.watchers = [[*watcher, Run(listing(18, 9, ALL, o_1=(15, "v-5")))] for watcher in history.watchers]
    assert check(history) == []
    history.watchers[0][0].events.append(event("BOOKMARK", 18))
    assert "knows nothing" in faults(history)


def test_a_deletion_that_an_apply_hides(history: History) -> None:
    history.writes += [write("delete", "", 8, None), write("apply", "v-7", 8.6, 18)]
    history.watchers = [
        [*watcher, Run(listing(18, 9.2, ALL, o_1=(18, "v-7"), o_2=(16, "v-6")))] for watcher in history.watchers
    ]
    assert check(history) == []


def test_a_change_where_nobody_was_watching(history: History) -> None:
    history.writes.append(write("patch", "v-10", 8, None, Outcome.UNKNOWN))
    history.watchers = [
        [*watcher, Run(listing(18, 9, ALL, o_1=(17, "v-10"), o_2=(16, "v-6")))] for watcher in history.watchers
    ]
    assert check(history) == []


def test_answers_that_nobody_should_get(history: History) -> None:
    history.wrong.append("list: 403")
    assert faults(history) == "list: 403"
