"""A single request can be followed: from its line in the log to the shard."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.workspaces.installation import Installation
from tests.integration.eventually import eventually


async def lines_of(kcp: Installation, audit_id: str) -> list[str]:
    """What workers have said about a request; it is written when the answer has been."""

    async def look() -> list[str]:
        files: list[Path] = sorted((kcp.root / "log").glob("worker-*.log"))
        return [line for file in files for line in file.read_text().splitlines() if audit_id in line]

    return await eventually(look)


async def test_a_request_can_be_followed(kcp: Installation) -> None:
    path = await kcp.fresh()
    status, headers, _ = await kcp.raw(
        "GET", f"/clusters/{path}/api/v1/namespaces/default/configmaps/none", headers={"Audit-ID": "follow-me-1"}
    )
    assert status == 404
    assert headers["audit-id"] == "follow-me-1", "the client's own"
    [line] = await lines_of(kcp, "follow-me-1")
    assert re.search(
        rf"INFO requests: request auditID=follow-me-1 user=admin workspace={path} verb=get resource=configmaps "
        r"namespace=default name=none code=404 seconds=[\d.]+ shardSeconds=[\d.]+ received=0 sent=\d+ "
        r"peer=127\.0\.0\.1 ",
        line,
    )
    assert "refused" not in line, "it was the shard that said so"


async def test_refusals_tell_the_step(kcp: Installation) -> None:
    _, headers, _ = await kcp.raw("GET", "/clusters/root:tests/api", token="bad-token-nobody-has")
    [line] = await lines_of(kcp, headers["audit-id"])
    assert "code=401 refused=identity" in line
    assert "bad-token-nobody-has" not in line
    path = await kcp.fresh()
    _, headers, _ = await kcp.raw("GET", f"/clusters/{path}/api/v1/secrets", token="bob-token")
    [line] = await lines_of(kcp, headers["audit-id"])
    assert "user=bob" in line
    assert "code=403 refused=entry" in line
