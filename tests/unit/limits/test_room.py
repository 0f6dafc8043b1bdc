"""Room for objects: what a count leaves, and what was made since."""

from __future__ import annotations

from proxy.limits.room import Room


def room(limit: int = 1000, made: int = 0) -> Room:
    made_room = Room("root:a", 7, made)
    made_room.limit = limit
    return made_room


def test_little_may_be_made_before_anything_is_counted() -> None:
    assert room().left(0, 2) == 5
    assert room(made=100).left(103, 2) == 2
    assert room(60).left(0, 2) == 0


def test_what_was_made_since_the_count_uses_it_up() -> None:
    counted = room()
    counted.count_is(900, 50, 2, 2)
    assert (counted.left(50, 2), counted.left(150, 2), counted.left(170, 2)) == (100, 0, -20)
    assert counted.used(150) == 1000
    assert not counted.full


def test_more_than_there_may_be() -> None:
    counted = room()
    counted.count_is(1200, 50, 2, 2)
    assert counted.full
    assert (counted.granted(2), counted.left(50, 2)) == (0, 0)


def test_several_kcps_divide_what_is_left() -> None:
    counted = room()
    counted.count_is(960, 0, 2, 8)
    assert counted.granted(2) == 10
    counted.count_is(999, 0, 2, 8)
    assert counted.granted(2) == 1, "or nobody could ever make the last one"
    counted.count_is(900, 0, 2, 1)
    assert counted.granted(2) == 100, "while its own Leases are not made"


def test_a_part_of_much_is_not_kept() -> None:
    """The others may have used all up by the time that it is."""
    counted = room(50_000)
    counted.count_is(1000, 0, 2, 4)
    assert counted.granted(2) == 500
    assert (counted.is_low(100, 2), counted.is_low(130, 2)) == (True, False)
    few = room(100)
    few.count_is(0, 0, 1, 2)
    assert few.granted(1) == 8


def test_another_limit_counts_at_once() -> None:
    counted = room()
    counted.count_is(1000, 0, 1, 1)
    counted.limit = 1010
    assert not counted.full
    assert counted.left(4, 1) == 6


def test_a_good_count_ends_a_failure() -> None:
    counted = room()
    counted.failure = "widgets.example.com cannot be counted"
    counted.count_is(1, 0, 1, 1)
    assert not counted.failure
