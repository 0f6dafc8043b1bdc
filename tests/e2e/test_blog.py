"""The story of two teams, each command checked against what it must print; the transcripts are in ``blog/``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e import story
from tests.e2e.ground import Ground
from tests.e2e.processes import processes
from tests.e2e.stage import BLOG, stage
from tests.e2e.story import Story
from tests.e2e.transcript import Step, load


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blog(physical: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    async with stage(tmp_path_factory.mktemp("blog"), physical) as scene:
        yield Story(scene)


@story.each(load(BLOG))
async def test_step(blog: Story, step: Step) -> None:
    await blog.tell(step)


async def test_kcp_left_nothing_running(blog: Story) -> None:
    blog.goes_on()
    assert processes(str(blog.scene.folder / "work")) == []
