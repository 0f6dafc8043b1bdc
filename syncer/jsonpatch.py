"""JSON patches (RFC 6902) applied to JSON values. Pure."""

from __future__ import annotations

import copy
from typing import Any

from proxy.kube.errors import StatusError


class PatchError(StatusError, ValueError):
    """A patch that cannot be applied; says which operation and why."""

    def __init__(self, message: str) -> None:
        super().__init__(422, message)


def patched(document: Any, operations: Any) -> Any:
    """A copy of ``document`` with the operations applied in their order. Raises PatchError."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    whole = {"": copy.deepcopy(document)}  # so that the document itself has something that holds it
    for number, operation in enumerate(operations):
        try:
            _apply(whole, operation)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise PatchError(f"operation {number} of the patch cannot be applied: {_why(error)}") from error
    return whole[""]


def _apply(whole: dict[str, Any], operation: dict[str, Any]) -> None:
    op, path = operation["op"], _parts(operation["path"])
    if op == "add":
        _add(whole, path, copy.deepcopy(operation["value"]))
    elif op == "remove":
        _take(whole, path)
    elif op == "replace":
        _take(whole, path)
        _add(whole, path, copy.deepcopy(operation["value"]))
    elif op == "move":
        source = _parts(operation["from"])
        if len(source) < len(path) and path[: len(source)] == source:
            raise ValueError("a value cannot be moved into itself")
        _add(whole, path, _take(whole, source))
    elif op == "copy":
        _add(whole, path, copy.deepcopy(_get(whole, _parts(operation["from"]))))
    elif op == "test":
        if not _same(_get(whole, path), operation["value"]):
            raise ValueError(f"{operation['path']} is not what the patch is for")
    else:
        raise ValueError(f"there is no operation {op!r}")


def _parts(pointer: str) -> list[str]:
    """Of a JSON pointer (RFC 6901), behind the holder of the document."""
    if pointer and not pointer.startswith("/"):
        raise ValueError(f"{pointer!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _get(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = value[_index(part, len(value) - 1)] if isinstance(value, list) else value[part]
    return value


def _add(whole: Any, parts: list[str], value: Any) -> None:
    holder, last = _get(whole, parts[:-1]), parts[-1]
    if isinstance(holder, list):
        holder.insert(len(holder) if last == "-" else _index(last, len(holder)), value)
    else:
        holder[last] = value


def _take(whole: Any, parts: list[str]) -> Any:
    holder, last = _get(whole, parts[:-1]), parts[-1]
    return holder.pop(_index(last, len(holder) - 1) if isinstance(holder, list) else last)


def _index(part: str, greatest: int) -> int:
    if not part.isascii() or not part.isdigit() or (part[0] == "0" and part != "0"):
        raise ValueError(f"{part!r} is no index of a list")
    if int(part) > greatest:
        raise ValueError(f"the list has no item {part}")
    return int(part)


def _same(one: Any, other: Any) -> bool:
    # Python takes True for 1; JSON does not.
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _why(error: Exception) -> str:
    return f"there is no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
