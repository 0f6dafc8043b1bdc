"""Tables of admission configurations, as a cluster prints them: with numbers of what is in them.

Columns of a CRD cannot count. So those of the shard's CRDs for these kinds (`proxy.mapping.registrations`) have as JSON
in them what is to be printed; what a kube-apiserver prints of it (``k8s.io/kubernetes/pkg/printers/internalversion``)
is made of each row as it goes by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

Make = tuple[type, Callable[[Any], object]]
"""What a cell has in it, where it is not empty, and what is printed of it."""
_ROW = re.compile(rb'\{"cells":(\[(?:(?:"(?:[^"\\]++|\\.)*+"|null),?)*+\])', re.DOTALL)
"""Within JSON nothing else looks like that: in a string each quote would have a backslash."""
_BEGIN = b'{"cells":'
_ROWS = b'"rows":['
_DEFINED = re.compile(rb'"name":"(?:(Webhooks|Validations|Mutations)","type":"string|Age","type":"date)"')


def _number(value: list[Any] | None) -> int:
    return len(value or ())


def _param_kind(value: Mapping[str, Any] | None) -> str:
    return f"{value.get('apiVersion', '')}/{value.get('kind', '')}" if value else "<unset>"


def _param_ref(value: Mapping[str, Any] | None) -> str:
    if not value:
        return "<unset>"
    if value.get("name"):
        return f"{value.get('namespace') or '*'}/{value['name']}"
    return _selector(value["selector"]) if value.get("selector") is not None else "<unset>"


def _selector(selector: Mapping[str, Any]) -> str:
    """As the ``String`` that gogo protobuf makes for a LabelSelector."""
    labels = selector.get("matchLabels") or {}
    wanted = "".join(f"{key}: {labels[key]}," for key in sorted(labels))
    requirements = "".join(
        f"LabelSelectorRequirement{{Key:{term.get('key', '')},Operator:{term.get('operator', '')},"
        f"Values:[{' '.join(term.get('values') or ())}],}},"
        for term in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{wanted}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )


_COLUMNS: Mapping[str, Mapping[int, Make]] = {
    "mutatingadmissionpolicies": {1: (list, _number), 2: (dict, _param_kind)},
    "mutatingadmissionpolicybindings": {2: (dict, _param_ref)},
    "mutatingwebhookconfigurations": {1: (list, _number)},
    "validatingadmissionpolicies": {1: (list, _number), 2: (dict, _param_kind)},
    "validatingadmissionpolicybindings": {2: (dict, _param_ref)},
    "validatingwebhookconfigurations": {1: (list, _number)},
}
"""Resource → index of a cell → what is made of it."""


class Columns:
    """A filter for Tables, one or an event of a watch after the other, that leaves anything else as it is: what may be
    a part of the definitions, or of a row, is kept back until the rest of it comes."""

    __slots__ = ("_defined", "_held", "_make", "_size")

    def __init__(self, resource: str) -> None:
        self._make = _COLUMNS[resource]
        self._held = bytearray()
        self._size = 0
        """Bytes that are looked at again only when there are twice as many: a cell may be large."""
        self._defined = False
        """Whether the rows of this Table have begun."""

    def feed(self, data: bytes) -> bytes:
        self._held += data
        ended = data.endswith(b"\n")
        if not ended and len(self._held) < 2 * self._size:
            return b""
        return self._out(bytes(self._held), ended=ended)

    def flush(self) -> bytes:
        return self._out(bytes(self._held), ended=True)

    def _out(self, held: bytes, *, ended: bool) -> bytes:
        """``ended``: nothing in ``held`` goes on in the next piece."""
        out, at = [], 0
        if not self._defined:
            rows = held.find(_ROWS)
            if rows < 0 and not ended:
                self._size = len(held)
                return b""
            at = rows if rows >= 0 else len(held)
            out.append(_DEFINED.sub(_definition, held[:at]))
        for row in _ROW.finditer(held, at):
            out += [held[at : row.start()], _BEGIN, self._cells(row[1])]
            at = row.end()
        rest = held[at:]
        keep = 0
        if not ended:
            begun = rest.find(_BEGIN)
            keep = len(rest) - begun if begun >= 0 else min(len(rest), len(_BEGIN) - 1)
        self._held = bytearray(rest[len(rest) - keep :])
        self._size = keep
        self._defined = not ended
        out.append(rest[: len(rest) - keep])
        return b"".join(out)

    def _cells(self, written: bytes) -> bytes:
        cells = orjson.loads(written)
        for index, (kind, make) in self._make.items():
            try:
                value = orjson.loads(cells[index]) if cells[index] else None
            except (IndexError, orjson.JSONDecodeError):
                break  # the columns are another kcp's
            if value is None or isinstance(value, kind):
                cells[index] = make(value)
        return orjson.dumps(cells)


def _definition(match: re.Match[bytes]) -> bytes:
    return b'"name":"%b","type":"integer"' % match[1] if match[1] else b'"name":"Age","type":"string"'
