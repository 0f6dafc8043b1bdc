"""One kcp; after each file of tries victims, shard and tenancy must have all that they had, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import Kcp
from tests.security.ground import QUIET, USERS, VICTIM, Ground, lay
from tests.wire.neighbour import settle
from tests.wire.watching import nothing_leaves_a_workspace

__all__ = ["nothing_leaves_a_workspace"]


@pytest.fixture
def may_come_back() -> tuple[str, ...]:
    """The attacker knows the tokens of the victims, and gets back what he writes (Audit-Id, too)."""
    return tuple(f"the token of {path} in " for path in (VICTIM, QUIET))


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def laid(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    folder = tmp_path_factory.mktemp("security")
    tokens = folder / "tokens.csv"
    tokens.write_text(USERS)
    async with Kcp(folder / ".kcp", "--token-auth-file", str(tokens)) as kcp:
        installation = Installation(kcp.root, tmp_path_factory.mktemp("clients"))
        await settle(kcp)
        yield await lay(installation)
        await installation.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ground(laid: Ground) -> AsyncIterator[Ground]:
    """All tries of a file leave everything that is not the attacker's as it was."""
    before = await laid.inventory()
    assert any(path.endswith("vault/ledger") for path in before), "the victim is looked at"
    yield laid
    after = await laid.inventory()
    assert {path for path in before if path not in after} == set(), "gone"
    assert {path for path in after if path not in before} == set(), "new"
    assert {path for path in before if before[path] != after[path]} == set(), "changed"
