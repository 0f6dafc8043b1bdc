"""The JavaScript client: typed and untyped objects, patches, watches, informers, accounts."""

from __future__ import annotations

from typing import Any

import orjson

from tests.clients import same
from tests.clients.programs import javascript
from tests.clients.side import Side, Sides


async def _play(side: Side) -> Any:
    outcome = await side.run(*javascript("scenario", side.folder))
    assert outcome.code == 0, f"{side.name}: {outcome.text}"
    return same.obj(orjson.loads(outcome.out))


async def test_javascript_client(sides: Sides) -> None:
    results = await sides.same(_play)
    answers = {what: answer for what, *answer in results}
    assert answers["too old"] == [[["ERROR", 410]]]
    assert answers["robot lists"][0]["code"] == 403
