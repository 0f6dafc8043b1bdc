"""Log lines: readable ones for people, JSON for machines. What looks like a credential is never written."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import orjson

CONSOLE, JSON = FORMATS = ("console", "json")
REQUESTS_FROM = 3
"""Verbosity from which each request has a line."""
HIDDEN = "[hidden]"

_CREDENTIAL = re.compile(
    r"(?P<scheme>\b(?:[Bb]earer|[Bb]asic)\s+)[\w.~+/=-]{4,}"
    r"|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"  # a JWT
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)


def level_of(verbosity: int) -> int:
    """Of ``-v``: 0 warnings, 2 what happens, 5 everything."""
    return logging.DEBUG if verbosity > 4 else logging.INFO if verbosity > 1 else logging.WARNING


def formatter(form: str) -> logging.Formatter:
    """``form``: one of `FORMATS`."""
    return JsonFormatter() if form == JSON else ConsoleFormatter()


def without_credentials(text: str) -> str:
    return _CREDENTIAL.sub(lambda match: (match["scheme"] or "") + HIDDEN, text)


class ConsoleFormatter(logging.Formatter):
    """``2026-01-02T03:04:05.678Z INFO logger: message key=value …``"""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{_moment(record.created)} {record.levelname} {record.name}: {record.getMessage()}"
        fields: dict[str, Any] = getattr(record, "fields", {})
        if fields:
            line += " " + " ".join(f"{key}={_plain(value)}" for key, value in fields.items())
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return without_credentials(line)


class JsonFormatter(logging.Formatter):
    """An object in each line: ``ts``, ``level``, ``logger``, ``msg``, the line's own fields, ``error``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "ts": _moment(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return without_credentials(orjson.dumps(line, default=str).decode())


def _moment(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}Z"


def _plain(value: object) -> str:
    """Quoted where it would not read as one word."""
    text = f"{value:.6f}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not any(mark in text for mark in ' "=')
    return text if plain else orjson.dumps(text).decode()
