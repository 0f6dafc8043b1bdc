"""Which of many workspaces begin to go, and when each is looked at again."""

from __future__ import annotations

import pytest

from proxy.tenancy.departures import AT_ONCE, FIRST, LAST, LATELY, LOOKS, Departures


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def departures(clock: Clock) -> Departures:
    """As many have begun as may."""
    found = Departures(clock)
    assert all(found.begins(f"k{number}") for number in range(AT_ONCE))
    return found


def test_so_many_begin(departures: Departures) -> None:
    assert not departures.begins("late")
    assert departures.begins("k0"), "it has begun"


@pytest.mark.parametrize("end", [Departures.emptied, Departures.gone])
def test_one_that_is_done_lets_another_begin(departures: Departures, end: object) -> None:
    assert callable(end)
    end(departures, "k3")
    assert [departures.begins(token) for token in ("late", "later")] == [True, False]


def test_one_without_namespaces_goes_on(departures: Departures) -> None:
    departures.emptied("k3")
    assert departures.begins("late")
    assert departures.begins("k3")


def test_what_takes_long_holds_nobody_up(departures: Departures, clock: Clock) -> None:
    assert not departures.takes_long("k0")
    clock.now += LATELY
    assert departures.begins("late")
    assert not departures.takes_long("k0")
    clock.now += 0.1
    assert departures.takes_long("k0")
    assert not departures.takes_long("late")
    assert departures.takes_long("unheard-of"), "its children are waited for"


def test_looks_are_fewer_where_there_are_many(departures: Departures) -> None:
    assert departures.again("k0") == AT_ONCE / LOOKS
    assert departures.again("late") == FIRST
    for number in range(LOOKS):
        departures.again(f"late{number}")
    assert departures.again("late") == 1 + 1 / LOOKS
    departures.gone("k0")
    assert departures.begins("late"), "which waits no longer"
    assert departures.again("late1") == 1.0
    for number in range(LOOKS * 20):
        departures.again(f"late{number}")
    assert departures.again("late1") == LAST
