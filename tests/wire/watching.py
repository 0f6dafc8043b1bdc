"""For the conftest of a folder in whose tests proxies run: all that they write to clients is looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire.monitor import Wire


@pytest.fixture
def may_come_back() -> tuple[str, ...]:
    """How notes begin of what may be in answers all the same; a folder whose tests write it themselves says so."""
    return ()


@pytest.fixture(autouse=True)
def nothing_leaves_a_workspace(wire: Wire, may_come_back: tuple[str, ...]) -> Iterator[None]:
    """After each test: no workspace's token, and nothing else that shards or a neighbour alone should see, was sent to
    a client."""
    yield
    noted = [note for note in wire.noted() if not note.startswith(may_come_back)]
    assert not noted, "\n".join(noted)
