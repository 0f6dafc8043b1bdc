"""Reading a body's fields: absent or of the right type. A mapping that skips what it does not expect would let it
through unmapped, so everything else is refused, as a kube-apiserver's decoder would.

``null`` counts as absent: in patches it deletes.
"""

from __future__ import annotations

from typing import Any

from proxy.kube.errors import StatusError

Object = dict[str, Any]


def text(obj: Object, key: str) -> str:
    """A string, ``""`` where it is absent. Raises StatusError 400."""
    value = obj.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise malformed(key, "a string")
    return value


def mapping(obj: Object, key: str) -> Object | None:
    """An object. Raises StatusError 400."""
    value = obj.get(key)
    if value is not None and not isinstance(value, dict):
        raise malformed(key, "an object")
    return value


def mappings(obj: Object, key: str) -> list[Object]:
    """A list of objects, empty where it is absent. Raises StatusError 400."""
    value = obj.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise malformed(key, "a list of objects")
    return value


def texts(obj: Object, key: str) -> list[str]:
    """A list of strings, empty where it is absent. Raises StatusError 400."""
    value = obj.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(key, "a list of strings")
    return value


def malformed(field: str, expected: str) -> StatusError:
    return StatusError(400, f"the body of the request cannot be read: field {field} must be {expected}")
