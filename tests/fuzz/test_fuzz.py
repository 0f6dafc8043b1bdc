"""A short look by each target; ``make fuzz`` takes longer ones."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    settings(max_examples=200)(TARGETS[name]())()
