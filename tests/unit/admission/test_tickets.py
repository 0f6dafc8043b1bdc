"""Tickets say what was signed, for as long as they are good."""

from __future__ import annotations

import base64

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from proxy.admission.tickets import GOOD_FOR, NotGood, Ticket, WrongTime, check, sign, workspace_of
from proxy.auth.identity import User
from proxy.auth.whoami import user_info

KEY = b"k" * 32
TICKET = Ticket("kabcdefgh", user_info(User("a", ("g", "h"), "7", (("scopes", ("x", "y")),))))


def test_what_it_says() -> None:
    signed = sign(KEY, TICKET)
    assert workspace_of(signed) == "kabcdefgh"
    assert check(KEY, signed) == TICKET
    assert TICKET.user == {"username": "a", "uid": "7", "groups": ["g", "h"], "extra": {"scopes": ["x", "y"]}}


@pytest.mark.parametrize(("seconds", "good"), [(GOOD_FOR - 5, True), (5 - GOOD_FOR, True), (GOOD_FOR + 5, False)])
def test_how_long_it_is_good(seconds: float, good: bool) -> None:
    with time_machine.travel(1_000_000, tick=False) as clock:
        signed = sign(KEY, TICKET)
        clock.shift(seconds)
        if good:
            assert check(KEY, signed) == TICKET
        else:
            with pytest.raises(WrongTime, match="clocks of the proxies"):
                check(KEY, signed)
            with pytest.raises(NotGood) as made_up:
                check(b"another", signed)
            assert made_up.type is NotGood, "nobody is told when it would be good"


def test_another_key() -> None:
    with pytest.raises(NotGood):
        check(b"l" * 32, sign(KEY, TICKET))


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_each_byte_counts(place: int, change: int) -> None:
    signed = bytearray(sign(KEY, TICKET))
    place %= len(signed)
    signed[place] ^= change
    with pytest.raises(NotGood):
        check(KEY, bytes(signed))


@pytest.mark.parametrize("forged", [b"", b".", b"x.y", b"e30=", base64.b64encode(b'{"workspace":"k"}'), b"\xff.\xff"])
def test_what_is_none(forged: bytes) -> None:
    with pytest.raises(NotGood):
        check(KEY, forged)
    with pytest.raises(NotGood):
        workspace_of(forged)
