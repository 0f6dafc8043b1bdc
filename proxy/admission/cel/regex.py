"""Regular expressions as Go has them: RE2, which never takes longer than the text is long."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from proxy.admission.cel.values import CelError, missing

_SIZE = 8 << 20
"""Bytes that a compiled expression may take."""


@lru_cache(256)
def compiled(pattern: str) -> Any:
    """Raises CelError."""
    try:
        import re2
    except ImportError as error:
        raise missing("RE2", error) from error
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _SIZE
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
        raise CelError(f"error parsing regexp: {_as_go(text)}") from None


def _as_go(text: str) -> str:
    """Both name what is wrong and where; Go with backticks."""
    kind, _, place = text.partition(": ")
    kind = _WORDS.get(kind, kind)
    return f"{kind}: `{place}`" if place else kind


_WORDS = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid repetition size": "invalid repeat count",
}
"""RE2's → Go's."""


def _sought(pattern: str) -> Any:
    try:
        return compiled(pattern)
    except CelError as error:
        raise CelError(f"Illegal regex: {error}") from None


def _find(text: str, pattern: str) -> str:
    found = _sought(pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, count: int = -1) -> list[str]:
    matches = _sought(pattern).finditer(text)
    if count < 0:
        return [match[0] for match in _apart(matches)]
    return [match[0] for _, match in zip(range(count), _apart(matches), strict=False)]


def _apart(matches: Any) -> Any:
    """Go takes no empty match right behind another one."""
    end = -1
    for match in matches:
        if match.end() > match.start() or match.start() != end:
            yield match
        end = match.end()


FUNCTIONS: dict[str, Any] = {
    "matches": {(str, str): lambda text, pattern: compiled(pattern).search(text) is not None},
    "find": {(str, str): _find},
    "findAll": {(str, str): _find_all, (str, str, int): _find_all},
}
