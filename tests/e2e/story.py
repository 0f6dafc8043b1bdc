"""A transcript as tests, one for each step."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.e2e.stage import Stage
from tests.e2e.transcript import Step


def each(steps: Sequence[Step]) -> pytest.MarkDecorator:
    """Parametrizes a test with ``step``."""
    names = [f"{number:02}-{step.command[:60]}" for number, step in enumerate(steps, 1)]
    return pytest.mark.parametrize("step", steps, ids=names)


class Story:
    """The stage, and whether everything went well so far."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self._broken_at: str | None = None

    def goes_on(self) -> None:
        """Skips a test that builds on what failed."""
        if self._broken_at:
            pytest.skip(f"builds on a step that failed: {self._broken_at}")

    async def tell(self, step: Step) -> None:
        self.goes_on()
        outcome = await self.scene.play(step)
        if outcome.problem:
            self._broken_at = outcome.command
        assert outcome.problem is None, f"$ {outcome.command}\n{outcome.output}"
