"""The story of two teams, each command checked against what it must print; the transcripts are in ``blog/``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.ground import Ground
from tests.e2e.processes import processes
from tests.e2e.stage import BLOG, Stage, stage
from tests.e2e.transcript import Step, load

STEPS = load(BLOG)


class Story:
    """The stage, and whether everything went well so far."""

    def __init__(self, scene: Stage) -> None:
        self.scene = scene
        self.broken_at: str | None = None


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def story(physical: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    async with stage(tmp_path_factory.mktemp("blog"), physical) as scene:
        yield Story(scene)


@pytest.mark.parametrize(
    "step", STEPS, ids=[f"{number:02}-{step.command[:60]}" for number, step in enumerate(STEPS, 1)]
)
async def test_step(story: Story, step: Step) -> None:
    if story.broken_at:
        pytest.skip(f"builds on a step that failed: {story.broken_at}")
    outcome = await story.scene.play(step)
    if outcome.problem:
        story.broken_at = outcome.command
    assert outcome.problem is None, f"$ {outcome.command}\n{outcome.output}"


async def test_kcp_left_nothing_running(story: Story) -> None:
    if story.broken_at:
        pytest.skip(f"builds on a step that failed: {story.broken_at}")
    assert processes(str(story.scene.folder / "work")) == []
