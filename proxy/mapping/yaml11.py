"""YAML bodies, read as a kube-apiserver reads them: go.yaml.in/yaml/v2 under sigs.k8s.io/yaml.

That is YAML 1.1 with its own idea of numbers (no base 60, base prefixes as in Go), timestamps left as text, keys of
any scalar type turned into text and duplicate keys refused. PyYAML gives the events, what they mean is decided here.
"""

from __future__ import annotations

import base64
import binascii
import copy
import math
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

MAX_SIZE = 1 << 17
"""Bytes; reading YAML costs a hundred times what JSON costs (0.2 s for this much at worst, in which nobody else is
served), and clients that send much send JSON under YAML's name."""
MAX_NODES = 200_000
"""Counted with every use of an alias, so that a few lines cannot grow to gigabytes."""
MAX_DEPTH = 100

Scalar: TypeAlias = "str | int | float | bool | None"
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INT = re.compile(
    r"[-+]?(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*))\Z"
)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_TYPES: dict[str, tuple[type, ...]] = {"bool": (bool,), "int": (int,), "float": (int, float), "null": (type(None),)}
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}


class YAMLError(ValueError):
    """Not one readable document."""


class YAMLTooLarge(YAMLError):
    """More of it than is read here."""


def load(body: bytes) -> Any:
    """The document as JSON would have it. Raises YAMLError."""
    if len(body) > MAX_SIZE:
        raise YAMLTooLarge(f"more than {MAX_SIZE} bytes of YAML; send JSON")
    parser = _Parser(body)
    try:
        return _Reader(parser.get_event).document()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise YAMLError(" ".join(str(error).split())[:300]) from error
    finally:
        parser.dispose()


class _Reader:
    """Builds the value of one document from its events, never deeper than `MAX_DEPTH`: a library's builder of trees may
    take the process down with it."""

    def __init__(self, following: Callable[[], Event]) -> None:
        self._following = following
        self._left = MAX_NODES
        self._anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Any:
        self._following()  # the stream's start
        if isinstance(self._following(), StreamEndEvent):
            return None
        value = self._value(self._following(), 0)
        self._following()  # the document's end
        if not isinstance(self._following(), StreamEndEvent):
            raise YAMLError("more than one document")
        return value

    def _value(self, event: Event, depth: int) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self._left
        self._spend(1)
        if depth > MAX_DEPTH:
            raise YAMLError("document is nested too deeply")
        value: Any
        if isinstance(event, ScalarEvent):
            value = _scalar(event)
        elif isinstance(event, SequenceStartEvent):
            value = []
            while not isinstance(item := self._following(), SequenceEndEvent):
                value.append(self._value(item, depth + 1))
        else:
            value = self._mapping(depth)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = (value, before - self._left)
        return value

    def _alias(self, event: AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise YAMLError(f"unknown anchor '{event.anchor}' referenced")
        value, size = self._anchors[event.anchor]
        self._spend(size)
        return copy.deepcopy(value)  # what is mapped in one place must not change in the other

    def _mapping(self, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := self._following(), MappingEndEvent):
            line = _line(event)
            if not isinstance(event, ScalarEvent):
                raise YAMLError(f"line {line}: a key must be a scalar")
            if event.value == "<<" and (event.implicit[0] or event.tag == _TAG + "merge"):
                self._merge(self._value(self._following(), depth + 1), merged)
                continue
            key = _key(event)
            if key in own:
                raise YAMLError(f'line {line}: key "{key}" already set in map')
            own[key] = self._value(self._following(), depth + 1)
        return {**{key: value for key, value in merged.items() if key not in own}, **own} if merged else own

    def _merge(self, source: Any, into: dict[str, Any]) -> None:
        """``<<``: of several mappings the first wins."""
        for part in source if isinstance(source, list) else [source]:
            if not isinstance(part, dict):
                raise YAMLError("map merge requires map or sequence of maps as the value")
            for key, value in part.items():
                into.setdefault(key, value)

    def _spend(self, nodes: int) -> None:
        self._left -= nodes
        if self._left < 0:
            raise YAMLError("document contains excessive aliasing")


def _scalar(event: ScalarEvent) -> Scalar:
    text = event.value
    if event.implicit[0]:
        tag = None
        value = resolve(text)
    elif event.tag is None or event.tag in (_TAG + "str", _TAG + "timestamp", "!"):
        return str(text)
    else:
        tag = event.tag.removeprefix(_TAG)
        if tag == "binary":
            return _binary(text)
        value = resolve(text)
        if type(value) not in _TYPES.get(tag, ()):
            raise YAMLError(f"cannot decode `{text[:40]}` as {event.tag[:60]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise YAMLError(f"{text} has no equal in JSON")
    return float(value) if tag == "float" and isinstance(value, int) else value


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise YAMLError("!!binary value is not base64 of text") from None


def resolve(text: str) -> Scalar:
    """What a plain scalar means: ``resolve`` of go.yaml.in/yaml/v2."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if text[0] == ".":
        return float(text) if _FLOAT.match(text) else text
    bare = text.replace("_", "")
    match = _INT.match(bare)
    if match:
        kind = str(match.lastgroup)
        value = int(match[kind], _BASES[kind]) * (-1 if bare[0] == "-" else 1)
        if -(1 << 63) <= value < 1 << 64 and not (value >= 1 << 63 and bare[0] == "+"):
            return value
    return float(bare) if _FLOAT.match(bare) else text


def _key(event: ScalarEvent) -> str:
    value = _scalar(event)
    if value is None:
        raise YAMLError(f"line {_line(event)}: unsupported map key of type: null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.8g}"
    return str(value)


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0
