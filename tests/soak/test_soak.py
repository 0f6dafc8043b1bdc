"""A short soak: what leaks with each request shows in seconds, but for memory."""

from __future__ import annotations

from tests.soak.play import play


async def test_nothing_is_left_over() -> None:
    said: list[str] = []
    failed = await play(seed=1, seconds=15.0, workspaces=12, users=8, watchers=40, memory=False, say=said.append)
    assert not failed, said
