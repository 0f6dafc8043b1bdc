"""All functions, by name: of any values, or by the types of their arguments (a target is the first argument).

An argument of a type for which there is no function has *no such overload*, as in cel-go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.admission.cel import (
    authorization,
    conversions,
    formats,
    lists,
    network,
    operators,
    quantity,
    regex,
    semver,
    strings,
    times,
    urls,
)
from proxy.admission.cel.values import TYPES, Type

Overloads = Mapping[tuple[type, ...], Callable[..., Any]]
Function = Callable[..., Any] | Overloads


def _merged(*libraries: Mapping[str, Function]) -> dict[str, Function]:
    merged: dict[str, Function] = {}
    for library in libraries:
        for name, function in library.items():
            known = merged.get(name)
            if isinstance(known, dict) and isinstance(function, dict):
                function = {**known, **function}
            else:
                assert known is None, name
            merged[name] = function
    return merged


FUNCTIONS: Mapping[str, Function] = _merged(
    operators.FUNCTIONS, conversions.FUNCTIONS, times.FUNCTIONS, strings.FUNCTIONS, lists.FUNCTIONS, regex.FUNCTIONS,
    urls.FUNCTIONS, network.FUNCTIONS, quantity.FUNCTIONS, semver.FUNCTIONS, formats.FUNCTIONS,
    authorization.FUNCTIONS,
)  # fmt: skip

TYPE_NAMES: Mapping[str, Type] = {kind.name: kind for kind in TYPES.values()} | {
    kind.cel_type.name: kind.cel_type
    for kind in (network.IP, network.CIDR, quantity.Quantity, semver.Semver, urls.URL, formats.Format)
}
