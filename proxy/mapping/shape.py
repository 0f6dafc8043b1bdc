"""Reading a body's fields: absent or of the right type. ``null`` counts as absent: in patches it deletes.

A field of another type counts as absent as well and goes on as it is: the shard refuses it, for its decoder knows these
fields' types, and says so in its own words. Those that read bodies to keep a promise (`proxy.mapping.gate`) look for
themselves.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def text(obj: Object, key: str) -> str:
    """A string, ``""`` where there is none."""
    value = obj.get(key)
    return value if isinstance(value, str) else ""


def mapping(obj: Object, key: str) -> Object | None:
    """An object."""
    value = obj.get(key)
    return value if isinstance(value, dict) else None


def mappings(obj: Object, key: str) -> list[Object]:
    """The objects of a list."""
    value = obj.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def texts(obj: Object, key: str) -> list[str]:
    """A list of strings, empty where there is none; ``null`` in it stands for an empty one, as Go reads it."""
    value = obj.get(key)
    if not isinstance(value, list) or not all(item is None or isinstance(item, str) for item in value):
        return []
    return [item or "" for item in value]
