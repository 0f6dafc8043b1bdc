"""A shard in kind, made as the documentation says, and the story played on it."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import manifests
from tests.clusters import kind
from tests.clusters.system import REPOSITORY, environment
from tests.e2e.ground import Ground
from tests.e2e.shell import Shell
from tests.e2e.stage import BLOG, stage, tools
from tests.e2e.story import Story
from tests.e2e.transcript import load

DOCUMENT = REPOSITORY / "docs" / "kind.md"
CREATION = 900


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """Of a shard that the commands of the document made."""
    if request.config.getoption("cluster_provider") != "kind":
        pytest.skip(f"--cluster-provider=kind is not asked for ({kind.obstacle() or 'it could be'})")
    folder = tmp_path_factory.mktemp("shard")
    shutil.copytree(Path(manifests.__file__).parent, folder / "manifests")
    block = re.search(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert block is not None
    shell = Shell(folder, environment() | tools(folder / "user"))
    await shell.start()
    try:
        for command in block[1].splitlines():
            printed, code = await shell.run(command, timeout=CREATION)
            assert code == 0, f"$ {command}\n{printed}"
        yield folder / "eu.kubeconfig"
    finally:
        await shell.run("kind delete cluster --name eu", timeout=CREATION)
        await shell.close()


async def test_the_story_on_a_shard_of_kind(physical: Ground, kubeconfig: Path, tmp_path: Path) -> None:
    async with stage(tmp_path, physical, flags=("--no-embedded", "--shard", f"eu={kubeconfig}")) as scene:
        story = Story(scene)
        for step in load(BLOG):
            await story.tell(step)
