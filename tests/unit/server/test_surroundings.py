"""When lists over all namespaces are read namespace by namespace."""

from __future__ import annotations

from dataclasses import replace

from proxy.mapping.listing import Listing
from proxy.server.surroundings import A_NAMESPACE, BELIEVED, MOST, PAGED, SELECTED, Surroundings

SHARD = "main"
LISTING = Listing("/api/v1/x", (), 0, "start", "k3fq7zn2a", in_namespaces=True)


def test_how_many_namespaces_take_less_than_what_stands_behind() -> None:
    around = Surroundings()
    assert around.namespaces(LISTING, SHARD, None) == 0, "nothing is known yet"
    for seen, wanted in ((A_NAMESPACE - 1, 0), (8 * A_NAMESPACE, 7), (A_NAMESPACE, 7), (10**9, MOST)):
        around.passed(LISTING, SHARD, seen)
        assert around.namespaces(LISTING, SHARD, None) == wanted
    assert around.namespaces(replace(LISTING, token="k3fq7zn2b"), SHARD, None) == MOST, "they stand in one order"
    assert around.namespaces(LISTING, "another", None) == 0
    assert around.namespaces(replace(LISTING, path="/api/v1/y"), SHARD, None) == 0


def test_of_what_has_no_namespaces_of_its_own_there_is_but_one_way() -> None:
    around = Surroundings()
    around.passed(replace(LISTING, in_namespaces=False), SHARD, 10**9)
    assert around.namespaces(LISTING, SHARD, None) == 0
    around.passed(LISTING, SHARD, 10**9)
    assert around.namespaces(replace(LISTING, in_namespaces=False), SHARD, None) == 0


def test_long_lists_are_better_passed_on_than_put_together() -> None:
    around = Surroundings()
    for expected, wanted in ((0, 0), (2 * PAGED - 1, 0), (2 * PAGED, 1), (10 * PAGED, 9), (10**9, MOST)):
        assert around.namespaces(LISTING, SHARD, expected) == max(wanted, 0)
    assert around.namespaces(replace(LISTING, limit=500), SHARD, 10 * PAGED) == 0, "which is put together in any case"
    around.passed(LISTING, SHARD, 3 * A_NAMESPACE)
    assert around.namespaces(LISTING, SHARD, 10 * PAGED) == 12, "both take time"


def test_a_selector_would_make_the_shard_go_through_everything() -> None:
    around, selected = Surroundings(), replace(LISTING, selected=True)
    assert around.namespaces(selected, SHARD, None) == SELECTED
    around.passed(LISTING, SHARD, 2 * SELECTED * A_NAMESPACE)
    assert around.namespaces(selected, SHARD, None) == 2 * SELECTED - 1
    around.crowded(selected, 2 * SELECTED - 1)
    assert around.namespaces(selected, SHARD, None) == 0
    assert around.namespaces(replace(selected, in_namespaces=False), SHARD, None) == 0


def test_who_has_more_namespaces_is_not_asked_for_them_again() -> None:
    around = Surroundings()
    around.passed(LISTING, SHARD, 8 * A_NAMESPACE)
    around.crowded(LISTING, 7)
    assert around.namespaces(LISTING, SHARD, None) == 0
    assert around.namespaces(replace(LISTING, token="k3fq7zn2b"), SHARD, None) == 7
    around.passed(LISTING, SHARD, 9 * A_NAMESPACE)
    assert around.namespaces(LISTING, SHARD, None) == 8, "it may have fewer than that"


def test_nothing_is_believed_for_ever() -> None:
    now = 0.0
    around = Surroundings(lambda: now)
    around.passed(LISTING, SHARD, 4 * A_NAMESPACE)
    now = BELIEVED - 1
    around.passed(LISTING, SHARD, 3 * A_NAMESPACE)
    around.crowded(LISTING, 1)
    assert around.namespaces(LISTING, SHARD, None) == 3
    now = BELIEVED + 1
    assert around.namespaces(LISTING, SHARD, None) == 0
    around.passed(LISTING, SHARD, 3 * A_NAMESPACE)
    now = 2 * BELIEVED
    assert around.namespaces(LISTING, SHARD, None) == 2
