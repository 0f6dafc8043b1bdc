"""What must differ between two runs of one scenario, taken out: identities, times, places."""

from __future__ import annotations

import re
from typing import Any

_VARYING = (
    (re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----"), "CERTIFICATE"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?([+-]\d{4}|Z))?( UTC)?"), "TIME"),
    (re.compile(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}"), "TIME"),
    (re.compile(r"https://127\.0\.0\.1:\d+(/clusters/[\w:-]+)?"), "SERVER"),
    (re.compile(r"\b\d+(\.\d+)?(ms|m?s|m\d*s?|h)\b"), "AGE"),
    (re.compile(r"(?<=\S) +(?=\t)"), ""),  # columns are as wide as what was taken out
)
_METADATA = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "selfLink")


def text(printed: str) -> str:
    """Of what a program printed."""
    for pattern, word in _VARYING:
        printed = pattern.sub(word, printed)
    return printed


def obj(value: Any) -> Any:
    """Of an object or anything inside one: what the server gives out by itself is gone."""
    if isinstance(value, dict):
        return {key: obj(item) for key, item in value.items() if key not in _METADATA}
    if isinstance(value, list | tuple):
        return [obj(item) for item in value]
    return text(value) if isinstance(value, str) else value
