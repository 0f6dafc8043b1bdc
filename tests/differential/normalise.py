"""Answers without what two servers never have in common: identities, times, versions, addresses, other objects."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.differential.sides import Answer
from tests.differential.step import WORLD, Memory

UNCOMPARED = frozenset(
    {"date", "content-length", "transfer-encoding", "connection", "content-encoding",
     "x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"}
)  # fmt: skip
"""Headers that HTTP itself needs, and those about the server's own queues; the others are compared."""
PRESENT = frozenset({"audit-id", "etag", "last-modified"})
"""Headers of which it is compared whether they are there."""

_VARYING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "TOKEN"),
    (re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?"), "CERTIFICATE"),
    (re.compile(r"^\d+(s|ms|m|m\d+s)$"), "AGE"),
    (re.compile(r'(\\"resourceVersion\\+":\\+")\d+'), r"\1RV"),
    # In an object that a refusal quotes: in the order of writes, of which the server itself makes some when it likes.
    (re.compile(r'(\\"managedFields\\+":)\[[^\]]*\]'), r"\1[MANAGED]"),
    (re.compile(r"(too old resource version: )\d+ \(\d+\)"), r"\1RV (RV)"),
    (re.compile(r"(the ResourceVersion in record \()\d+"), r"\1RV"),
    (re.compile(r"(ResourceVersion in (?:precondition|object meta): )\d+"), r"\1RV"),
    (re.compile(r'(resource ?[vV]ersion:? "?)\d+'), r"\1RV"),
    (re.compile(r" \([^()]* \.\.\.\)"), " (beginning of the body)"),
    (re.compile(r"(Too large resource version: \w+, current: )\d+"), r"\1RV"),
)
_UNORDERED = frozenset({"managedFields", "resourceRules", "nonResourceRules", "resources", "groups"})
"""By time, or not at all."""
_VERSIONS = frozenset({"resourceVersion", "uid"})


@dataclass(frozen=True, slots=True)
class Seen:
    """What is compared of an answer, as lines."""

    lines: tuple[str, ...]


class Normaliser:
    """Of one side: ``base`` is the server's URL."""

    def __init__(self, base: str, memory: Memory, *, quotas: bool = False) -> None:
        """``quotas``: whether the answer is about resource quotas."""
        self._base = base
        self._quotas = quotas
        self._world = memory.world

    def seen(self, answer: Answer, *, watch: bool, everywhere: bool, limited: bool) -> Seen:
        """``everywhere``: a list beyond the world's own namespaces; ``limited``: of which only a part was asked for."""
        headers = sorted(
            f"{name}: {'…' if name in PRESENT else self._text(value)}"
            for name, value in answer.headers
            if name not in UNCOMPARED
        )
        body = self._body(answer, watch, everywhere, limited)
        return Seen((f"HTTP {answer.status}", *headers, *body.splitlines()))

    def _body(self, answer: Answer, watch: bool, everywhere: bool, limited: bool) -> str:
        lines = _lines(answer.body) if watch and answer.status == 200 else None
        if lines is not None:
            events = [self._value(line) for line in lines if self._of_interest(line, everywhere)]
            return "\n".join(map(_dump, _in_order(events)))
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = _of_yaml(answer)
        if value is None:
            return self._text(answer.body.decode("utf-8", "backslashreplace"))
        if everywhere and isinstance(value, dict):
            for key in ("items", "rows"):
                if isinstance(value.get(key), list) or (key in value and value[key] is None):
                    value[key] = [] if limited else [item for item in value[key] or () if self._belongs(item)]
            if limited and isinstance(value.get("metadata"), dict):
                value["metadata"].pop("remainingItemCount", None)
                value["metadata"].pop("continue", None)
        form = "compact" if answer.body.count(b"\n") <= 1 else "indented"
        end = "a line break at the end" if answer.body.endswith(b"\n") else "no line break at the end"
        return f"{form}, {end}\n{_dump(self._value(value))}"

    def _of_interest(self, event: Any, everywhere: bool) -> bool:
        if not isinstance(event, dict):
            return True
        what = event.get("object") or {}
        if event.get("type") == "BOOKMARK":  # those in between come when they come
            rows = what.get("rows") or [{"object": what}]
            return any("annotations" in ((row.get("object") or {}).get("metadata") or {}) for row in rows)
        if everywhere and what.get("kind") == "Table":
            what["columnDefinitions"] = []  # of the first event alone, whosever that is
            return any(self._belongs(row) for row in what.get("rows") or ())
        return not everywhere or self._belongs(what)

    def _belongs(self, item: Any) -> bool:
        """Whether it is of this world. A bookmark is everybody's."""
        if not isinstance(item, dict):
            return True
        meta = (item.get("object") or item).get("metadata") or {}
        names = (meta.get("namespace"), meta.get("name"))
        return not any(names) or any(self._world in (name or "") for name in names)

    def _value(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            if self._quotas:
                # A controller fills in the status, at its own time.
                value = {name: part for name, part in value.items() if name not in ("managedFields", "status", "cells")}
            return {self._text(name): self._value(part, name) for name, part in value.items()}
        if isinstance(value, list):
            values = [self._value(item) for item in value]
            return sorted(values, key=_dump) if key in _UNORDERED else _in_order(values)
        if not isinstance(value, str):
            return value
        if key in _VERSIONS:
            return key.upper() if value else value
        if key == "continue":
            return "CONTINUE"
        return self._text(value)

    def _text(self, text: str) -> str:
        if not text:
            return text
        text = text.replace(self._base, "SERVER").replace(self._world, WORLD)
        for pattern, word in _VARYING:
            text = pattern.sub(word, text)
        return _generated(text)


def _of_yaml(answer: Answer) -> Any:
    """What YAML says, in which the order of keys means nothing; None for what is none."""
    if not answer.header("content-type").startswith("application/yaml"):
        return None
    try:
        return json.loads(json.dumps(yaml.load(answer.body, yaml.CSafeLoader)))
    except (ValueError, TypeError, yaml.YAMLError):
        return None


def _lines(body: bytes) -> list[Any] | None:
    """Events of a watch; None for anything else, which it is of an object with a name."""
    try:
        return [json.loads(line) for line in body.splitlines() if line.strip()]
    except ValueError:
        return None


_SUFFIX = re.compile(r"\b(gen-|Gen_)[bcdfghjklmnpqrstvwxz2456789]{5}\b")
"""What generateName appends."""


def _generated(text: str) -> str:
    return _SUFFIX.sub(r"\1GENERATED", text)


def _in_order(values: list[Any]) -> list[Any]:
    """Objects, rows or events, of which those with generated names stand together in an order of chance."""
    ordered: list[Any] = []
    for chance, run in itertools.groupby(values, _is_generated):
        ordered += sorted(run, key=_dump if chance else lambda _: 0)
    return ordered


def _is_generated(value: Any) -> bool:
    while isinstance(value, dict) and "metadata" not in value:
        rows = value.get("rows")
        value = rows[0] if isinstance(rows, list) and rows else value.get("object")
    meta = value.get("metadata") if isinstance(value, dict) else None
    return isinstance(meta, dict) and str(meta.get("name", "")).endswith("GENERATED")


_dump: Callable[[Any], str] = json.JSONEncoder(ensure_ascii=False, indent=1, sort_keys=True).encode
