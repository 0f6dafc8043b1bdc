"""The smallest sequence, and the smallest request, that still show a difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import orjson

from tests.differential.driver import Difference, Driver
from tests.differential.step import Step

TRIALS = 40
"""Replays for one difference, at most: each plays in a new world."""


async def shrink(driver: Driver, found: Difference) -> Difference:
    """Raises nothing: what cannot be repeated is given back as it is."""
    trials = 0

    async def still(steps: tuple[Step, ...]) -> Difference | None:
        nonlocal trials
        trials += 1
        again = await driver.play(steps, count=False)
        return next((difference for difference in again if len(difference.steps) == len(steps)), None)

    best = found
    alone = await still(found.steps[-1:])
    if alone is not None:
        best = alone
    else:
        size = max(1, (len(best.steps) - 1) // 2)
        while trials < TRIALS and len(best.steps) > 1:
            before = best
            for start in range(0, len(best.steps) - 1, size):
                kept = best.steps[:start] + best.steps[min(start + size, len(best.steps) - 1) :]
                smaller = await still(kept)
                if smaller is not None:
                    best = smaller
                    break
                if trials >= TRIALS:
                    break
            if best is before:
                if size == 1:
                    break
                size //= 2
    progress = True
    while progress and trials < TRIALS:
        progress = False
        for last in simpler(best.steps[-1]):
            smaller = await still((*best.steps[:-1], last))
            if smaller is not None:
                best, progress = smaller, True
                break
            if trials >= TRIALS:
                break
    return best


def simpler(step: Step) -> Iterator[Step]:
    """The request without one of its parts."""
    path, _, query = step.target.partition("?")
    parameters = query.split("&") if query else []
    for at in range(len(parameters)):
        rest = "&".join(parameters[:at] + parameters[at + 1 :])
        yield replace(step, target=f"{path}?{rest}" if rest else path)
    for at in range(len(step.headers)):
        if step.headers[at][0] != "Content-Type":
            yield replace(step, headers=step.headers[:at] + step.headers[at + 1 :])
    try:
        body = orjson.loads(step.body)
    except orjson.JSONDecodeError:
        return
    if isinstance(body, dict):
        for key in body:
            yield replace(step, body=orjson.dumps({name: part for name, part in body.items() if name != key}))
            if isinstance(body[key], dict):
                for inner in body[key]:
                    less = {name: part for name, part in body[key].items() if name != inner}
                    yield replace(step, body=orjson.dumps(body | {key: less}))
