"""Strategic merge patches, as far as admission configurations need them: which of their lists are merged, and by what.

Follows ``k8s.io/apimachinery/pkg/util/strategicpatch``; patch tags of k8s.io/api/admissionregistration/v1 and
ObjectMeta.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.kube.errors import StatusError
from proxy.mapping.shape import Object

KEYS = {"webhooks": "name", "matchConditions": "name", "variables": "name", "ownerReferences": "uid"}
"""Lists of objects that are merged, with the key by which two are the same; all others are replaced."""
ATOMIC = {"MutatingAdmissionPolicy": frozenset({"variables"})}
"""By kind: those of them that are replaced there."""
UNIONS = frozenset({"finalizers"})
"""Lists of strings that are merged."""
_DIRECTIVE, _ORDER, _DELETE, _RETAIN = "$patch", "$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"


def merged(current: Mapping[str, Any], patch: Mapping[str, Any], kind: str = "") -> Object:
    """What ``patch`` makes of an object of that kind. Raises StatusError 400 for one that makes no sense."""
    replaced = ATOMIC.get(kind, frozenset())
    return _merged(current, patch, {key: name for key, name in KEYS.items() if key not in replaced})


def _merged(current: Mapping[str, Any], patch: Mapping[str, Any], keys: Mapping[str, str]) -> Object:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise _bad(f"unknown patch type: {directive}")
    made = dict(current)
    for key, value in patch.items():
        if key == _RETAIN and isinstance(value, list):
            made = {kept: made[kept] for kept in made if kept in value}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            before = made.get(key)
            made[key] = _merged(before if isinstance(before, dict) else {}, value, keys)
        elif isinstance(value, list) and key in keys:
            made[key] = _merged_list(made.get(key), value, keys, keys[key])
        elif isinstance(value, list) and key in UNIONS:
            made[key] = list(dict.fromkeys([*(made.get(key) or []), *value]))
        else:
            made[key] = value
    for key, value in patch.items():
        name = key.partition("/")[2]
        if key.startswith(_DELETE) and isinstance(made.get(name), list) and isinstance(value, list):
            made[name] = [item for item in made[name] if item not in value]
        elif key.startswith(_ORDER) and isinstance(made.get(name), list) and isinstance(value, list):
            made[name] = _in_order(made[name], value, current.get(name), keys.get(name))
    return made


def _merged_list(current: Any, patch: list[Any], keys: Mapping[str, str], key: str) -> list[Any]:
    made: list[Any] = list(current) if isinstance(current, list) else []
    if any(isinstance(item, dict) and item == {_DIRECTIVE: "replace"} for item in patch):
        return [item for item in patch if item != {_DIRECTIVE: "replace"}]
    for item in patch:
        if not isinstance(item, dict) or key not in item:
            raise _bad(f"map: {item} does not contain declared merge key: {key}")
        at = next((index for index, one in enumerate(made) if one.get(key) == item[key]), None)
        if item.get(_DIRECTIVE) == "delete":
            made = [one for one in made if one.get(key) != item[key]]
        elif at is None:
            made.append(_merged({}, item, keys))
        else:
            made[at] = _merged(made[at], item, keys)
    return _in_order(made, patch, current, key)


def _in_order(items: list[Any], order: list[Any], current: Any, key: str | None) -> list[Any]:
    """Those that ``order`` names stand as it says; each other one goes before the first of them that it stood before
    (``normalizeElementOrder``)."""

    def name(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [name(item) for item in order]
    before = [name(item) for item in current] if isinstance(current, list) else []
    named = sorted((item for item in items if name(item) in wanted), key=lambda item: wanted.index(name(item)))
    others = [item for item in items if name(item) not in wanted]
    made = []
    while named and others:
        left, right = name(others[0]), name(named[0])
        goes_first = left in before and right in before and before.index(left) < before.index(right)
        made.append((others if goes_first else named).pop(0))
    return [*made, *named, *others]


def _bad(why: str) -> StatusError:
    return StatusError(400, why)
