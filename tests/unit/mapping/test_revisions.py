"""Resource versions of workspaces that have moved."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.kube.versions import STEP
from proxy.mapping.paths import RequestInfo, parse
from proxy.mapping.revisions import Outward, body_inward, inward, outward, query_inward

TOKEN = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAsInN0YXJ0IjoiYSJ9"
LIST = json.dumps(
    {
        "metadata": {"resourceVersion": "12", "continue": TOKEN},
        "items": [
            {"metadata": {"name": "a", "resourceVersion": "7"}, "spec": {"continue": "eyes", "resourceVersion": "x"}},
            {"metadata": {"name": "b", "resourceVersion": "100200300400500"}, "data": {"continue": ""}},
            {"metadata": {"resourceVersion": ""}, "text": '"resourceVersion":"9"', "seen": {"resourceVersion": "3"}},
        ],
    },
    separators=(",", ":"),
).encode()


def test_versions_and_tokens_of_an_answer() -> None:
    seen = json.loads(outward(LIST, 2))
    assert seen["metadata"] == {"resourceVersion": str(2 * STEP + 12), "continue": f"2.{TOKEN}"}
    first, second, third = seen["items"]
    assert first["metadata"]["resourceVersion"] == str(2 * STEP + 7)
    assert first["spec"] == {"continue": "eyes", "resourceVersion": "x"}
    assert second["metadata"]["resourceVersion"] == str(2 * STEP + 100200300400500)
    assert second["data"] == {"continue": ""}
    assert third == {
        "metadata": {"resourceVersion": ""},
        "text": '"resourceVersion":"9"',
        "seen": {"resourceVersion": str(2 * STEP + 3)},
    }


@given(st.lists(st.integers(0, len(LIST)), max_size=12), st.integers(1, 9))
def test_in_pieces_it_is_the_same(cuts: list[int], moves: int) -> None:
    filtered = Outward(moves)
    edges = [0, *sorted(cuts), len(LIST)]
    pieces = [filtered.feed(LIST[start:end]) for start, end in pairwise(edges)]
    assert b"".join(pieces) + filtered.flush() == outward(LIST, moves)


def test_an_event_of_a_watch_is_not_held_back() -> None:
    event = b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"5"}}}\n'
    assert Outward(1).feed(event) == outward(event, 1)


@given(st.integers(1, STEP - 1), st.integers(1, 9))
def test_what_was_read_can_be_written(number: int, moves: int) -> None:
    body = b'{"metadata":{"resourceVersion":"%d"},"at":{"resourceVersion":"%d"}}' % (number, number)
    assert body_inward(outward(body, moves), moves) == body
    assert inward(str(moves * STEP + number), moves) == str(number)
    assert inward(str((moves - 1) * STEP + number), moves) is None
    older = outward(body, moves - 1) if moves > 1 else body
    assert body_inward(older, moves) == older


@pytest.mark.parametrize("version", ["", "0", "latest", "-1"])
def test_what_is_no_version_stays(version: str) -> None:
    assert inward(version, 3) == version


def asked(query: str) -> RequestInfo:
    return parse(b"GET", f"/api/v1/namespaces/default/configmaps?{query}".encode())


@pytest.mark.parametrize(
    ("query", "mapped"),
    [
        (f"resourceVersion={STEP + 5}&watch=true", {"resourceVersion": "5", "watch": "true"}),
        ("resourceVersion=5&resourceVersionMatch=NotOlderThan&limit=3", {"limit": "3"}),
        ("resourceVersion=0", {"resourceVersion": "0"}),
        (f"continue=1.{TOKEN}&limit=3", {"continue": TOKEN, "limit": "3"}),
        ("continue=nonsense", {"continue": "nonsense"}),
        ("labelSelector=a&labelSelector=b", {"labelSelector": "b"}),
        (
            "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=5",
            {"watch": "true", "sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"},
        ),
    ],
)
def test_query(query: str, mapped: dict[str, str]) -> None:
    assert dict(query_inward(asked(query), 1).query) == mapped


@pytest.mark.parametrize(
    "query",
    [
        "watch=true&resourceVersion=5",
        f"watch=true&resourceVersion={STEP + 5}",
        "resourceVersion=5&resourceVersionMatch=Exact",
        f"continue={TOKEN}",
        f"continue=1.{TOKEN}",
    ],
)
def test_what_goes_on_from_before_the_move_has_expired(query: str) -> None:
    with pytest.raises(StatusError) as expired:
        query_inward(asked(query), 2)
    assert (expired.value.code, expired.value.reason) == (410, "Expired")
