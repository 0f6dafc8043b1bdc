"""YAML bodies, read as a kube-apiserver reads them: go.yaml.in/yaml/v2 under sigs.k8s.io/yaml.

That is YAML 1.1 with its own idea of numbers (no base 60, base prefixes as in Go), timestamps left as text, keys of
any scalar type turned into text and duplicate keys refused. PyYAML gives the nodes, resolving is done here.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

MAX_SIZE = 1 << 20
"""Bytes; reading YAML costs a hundred times what JSON costs, and clients that send much send JSON."""
MAX_NODES = 200_000
"""Counted with every use of an alias, so that a few lines cannot grow to gigabytes."""
MAX_DEPTH = 100

Scalar: TypeAlias = "str | int | float | bool | None"
PLAIN = "plain"
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


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Only says which scalars are plain; what they mean is decided here."""

    def resolve(self, kind: type[Node], value: Any, implicit: Any) -> str:
        if kind is ScalarNode:
            return PLAIN if implicit[0] else _TAG + "str"
        return _TAG + ("seq" if kind is SequenceNode else "map")


def load(body: bytes) -> Any:
    """The document as JSON would have it. Raises YAMLError."""
    if len(body) > MAX_SIZE:
        raise YAMLError(f"more than {MAX_SIZE} bytes of YAML; send JSON")
    try:
        loader = _Loader(body)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise YAMLError(" ".join(str(error).split())[:300]) from error
    return _Reader().value(node, 0) if node is not None else None


class _Reader:
    """Turns the nodes of one document into values."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def value(self, node: Node, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise YAMLError("document contains excessive aliasing or nesting")
        if isinstance(node, ScalarNode):
            return _scalar(node)
        if isinstance(node, SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        assert isinstance(node, MappingNode)
        return self._mapping(node, depth)

    def _mapping(self, node: MappingNode, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if isinstance(key_node, ScalarNode) and key_node.tag in (PLAIN, _TAG + "merge") and key_node.value == "<<":
                self._merge(value_node, merged, depth)
                continue
            if not isinstance(key_node, ScalarNode):
                raise YAMLError(f"line {key_node.start_mark.line + 1}: a key must be a scalar")
            key = _key(key_node)
            if key in own:
                raise YAMLError(f'line {key_node.start_mark.line + 1}: key "{key}" already set in map')
            own[key] = self.value(value_node, depth + 1)
        return {**{key: value for key, value in merged.items() if key not in own}, **own} if merged else own

    def _merge(self, node: Node, into: dict[str, Any], depth: int) -> None:
        """``<<``: of several mappings the first wins."""
        for source in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode):
                raise YAMLError("map merge requires map or sequence of maps as the value")
            for key, value in self._mapping(source, depth + 1).items():
                into.setdefault(key, value)
                self._left -= 1


def _scalar(node: ScalarNode) -> Scalar:
    tag, text = node.tag.removeprefix(_TAG), node.value
    if tag in ("str", "timestamp"):
        return str(text)
    if tag == "binary":
        try:
            return base64.b64decode(text, validate=False).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise YAMLError("!!binary value is not base64 of text") from None
    value = resolve(text)
    if tag != PLAIN and type(value) not in _TYPES.get(tag, ()):
        raise YAMLError(f"cannot decode `{text[:40]}` as {node.tag[:60]}")
    if isinstance(value, float) and not math.isfinite(value):
        raise YAMLError(f"{text} has no equal in JSON")
    return float(value) if tag == "float" and isinstance(value, int) else value


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


def _key(node: ScalarNode) -> str:
    value = _scalar(node)
    if value is None:
        raise YAMLError(f"line {node.start_mark.line + 1}: unsupported map key of type: null")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.8g}"
    return str(value)
