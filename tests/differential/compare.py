"""Many sequences, one after the other, and what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.differential.driver import Difference, Driver
from tests.differential.generate import Sequence
from tests.differential.shrink import shrink
from tests.differential.sides import Side

LENGTH = 60
"""Requests of one sequence: long enough for objects to meet, short enough to be played again."""


@dataclass(frozen=True, slots=True)
class Report:
    compared: int
    by_status: dict[int, int]
    excepted: dict[str, int]
    differences: tuple[Difference, ...]

    def summary(self) -> str:
        codes = ", ".join(f"{code}: {number}" for code, number in sorted(self.by_status.items()))
        known = ", ".join(f"{name}: {number}" for name, number in sorted(self.excepted.items())) or "none"
        return (
            f"{self.compared} requests compared ({codes}); known differences met: {known}; "
            f"differences: {len(self.differences)}"
        )


async def compare(
    plain: Side, workspace: Side, *, seed: int, requests: int, most: int, smallest: bool, say: Callable[[str], None]
) -> Report:
    """``most``: differences after which it ends; alike ones count once."""
    driver = Driver(plain, workspace, seed)
    differences: list[Difference] = []
    signatures: set[tuple[str, ...]] = set()
    number = 0
    while driver.compared < requests and len(differences) < most:
        steps = Sequence(f"{seed}/{number}", min(LENGTH, requests - driver.compared)).steps
        number += 1
        for found in await driver.play(steps):
            if found.signature in signatures:
                continue
            signatures.add(found.signature)
            if smallest:
                found = await shrink(driver, found)
            differences.append(found)
            say(f"\ndifference {len(differences)} (sequence {number - 1}):\n{found.shown()}\n")
    await driver.close()
    return Report(driver.compared, driver.by_status, driver.excepted, tuple(differences))
