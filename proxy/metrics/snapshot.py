"""Metrics as they travel from a worker to whoever exposes them: families of samples, as JSON.

Every worker counts for itself. What is exposed is the sum over all workers, those that died included: counters never go
back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

Labels = tuple[str, ...]
"""Values, in the order of the family's label names."""

SUM, MAX = "sum", "max"
COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
CLASSES = ("cut", "1xx", "2xx", "3xx", "4xx", "5xx")
"""Values of label ``class``, by the first digit of a status; 0 where the client left before there was one."""


@dataclass(slots=True)
class Family:
    """One metric."""

    name: str
    """Without the suffix ``_total``."""
    kind: str
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    """Of a histogram's buckets; the last, infinite one is implied."""
    merge: str = SUM
    """How gauges of several workers become one."""
    values: dict[Labels, float] = field(default_factory=dict)
    """Of counters and gauges."""
    buckets: dict[Labels, list[float]] = field(default_factory=dict)
    """Of histograms: observations in each bucket (not cumulative), and their sum at the end."""


Values = Mapping[Labels, float]


def counter(name: str, text: str, *labels: str, values: Values | None = None) -> Family:
    """``name`` without ``_total``; without labels its one value is that of ``()``."""
    return Family(name, COUNTER, text, labels, values=dict(values or {}))


def gauge(name: str, text: str, *labels: str, values: Values | None = None, merge: str = SUM) -> Family:
    """``merge``: how those of several workers become one."""
    return Family(name, GAUGE, text, labels, merge=merge, values=dict(values or {}))


@lru_cache
def address(path: Path) -> str:
    """A name for a Unix socket that fits into the 108 bytes which unix(7) has for it."""
    if len(os.fsencode(path)) < 100:
        return str(path)
    return f"/proc/self/fd/{os.open(path.parent, os.O_PATH | os.O_DIRECTORY)}/{path.name}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a worker says when it is asked."""

    families: list[Family]
    problem: str | None
    """What keeps it from serving, in a line."""


def encode(families: Iterable[Family], problem: str | None = None) -> bytes:
    plain = [
        {
            "name": family.name,
            "kind": family.kind,
            "help": family.help,
            "labels": family.labels,
            "bounds": family.bounds,
            "merge": family.merge,
            "values": list(family.values.items()),
            "buckets": list(family.buckets.items()),
        }
        for family in families
    ]
    return orjson.dumps({"families": plain, "problem": problem})


def decode(data: bytes) -> Snapshot:
    """Raises ValueError for what `encode` did not make."""
    shape = orjson.loads(data)
    return Snapshot([_family(family) for family in shape["families"]], shape["problem"])


def _family(shape: Mapping[str, Any]) -> Family:
    return Family(
        name=shape["name"],
        kind=shape["kind"],
        help=shape["help"],
        labels=tuple(shape["labels"]),
        bounds=tuple(shape["bounds"]),
        merge=shape["merge"],
        values={tuple(labels): value for labels, value in shape["values"]},
        buckets={tuple(labels): counts for labels, counts in shape["buckets"]},
    )


def add(into: dict[str, Family], families: Iterable[Family]) -> None:
    """Merge ``families`` into those of the same name."""
    for family in families:
        known = into.get(family.name)
        if known is None:
            into[family.name] = known = Family(
                family.name, family.kind, family.help, family.labels, family.bounds, family.merge
            )
        for labels, value in family.values.items():
            before = known.values.get(labels)
            if before is None:
                known.values[labels] = value
            else:
                known.values[labels] = max(before, value) if family.merge == MAX else before + value
        for labels, counts in family.buckets.items():
            sums = known.buckets.get(labels)
            known.buckets[labels] = list(counts) if sums is None else [a + b for a, b in zip(sums, counts, strict=True)]


def lasting(families: Iterable[Family]) -> list[Family]:
    """What of a worker outlives it: all but its gauges."""
    return [family for family in families if family.kind != GAUGE]
