"""Workspaces that leave no broken webhook behind, which would be felt by others' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from proxy.kube.errors import StatusError
from tests.integration.admission import conftest
from tests.integration.admission.side import Side
from tests.integration.conversion.converting import CRDS
from tests.integration.kcp_process import Kcp

NONE = {"spec": {"conversion": {"strategy": "None", "webhook": None}}}


@asynccontextmanager
async def fresh(kcp: Kcp) -> AsyncIterator[Side]:
    """A workspace of its own."""
    async with conftest.fresh(kcp) as side:
        try:
            yield side
        finally:
            with suppress(StatusError):  # it may be gone
                for item in (await side.client.list(CRDS))["items"]:
                    await side.client.patch(CRDS, item["metadata"]["name"], NONE)
