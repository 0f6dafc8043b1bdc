"""Which objects a quota with scopes is about: ``spec.scopes`` and ``spec.scopeSelector``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

Object = Mapping[str, Any]


class Requirement(NamedTuple):
    """One scope, by which an object is in or out."""

    scope: str
    operator: str = "Exists"
    """Exists, DoesNotExist, In, NotIn."""
    values: Sequence[str] = ()


Within = Callable[[Requirement, Object], bool]
"""Whether an object meets a requirement."""


def requirements(spec: Object) -> tuple[Requirement, ...]:
    """Of a quota's spec; an object must meet all of them."""
    selector = (spec.get("scopeSelector") or {}).get("matchExpressions") or ()
    return (
        *(Requirement(scope) for scope in spec.get("scopes") or ()),
        *(Requirement(item["scopeName"], item["operator"], tuple(item.get("values") or ())) for item in selector),
    )


def selects(requirement: Requirement, names: Collection[str]) -> bool:
    """Whether one of ``names`` (of an object's classes) is meant, or that there are none."""
    match requirement.operator:
        case "Exists":
            return bool(names)
        case "DoesNotExist":
            return not names
        case "In":
            return any(name in requirement.values for name in names)
        case "NotIn":
            return not names or any(name not in requirement.values for name in names)
    return False
