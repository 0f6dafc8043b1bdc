"""What is changed, by which tests that must be noticed, and which changes mean the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Subject:
    tests: tuple[str, ...]
    """Files, from the repository's top."""
    only: frozenset[str] = frozenset()
    """Functions whose calls are changed, if not everything is."""
    equivalent: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Mutants that do the same as the module, each with the reason."""


_MAPPING = "tests/unit/mapping"

SUBJECTS: Mapping[str, Subject] = {
    "proxy.mapping.gate": Subject(
        tests=tuple(f"{_MAPPING}/test_{name}.py" for name in ("gate", "gate_bodies", "gate_conversions")),
    ),
    **{
        f"proxy.server.{name}": Subject(
            tests=("tests/unit/server/test_gate_on_the_way.py",),
            only=frozenset({"gate", "gate_mapped"}),
        )
        for name in ("gateway", "sending")
    },
}
