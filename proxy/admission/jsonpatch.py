"""JSON patches (RFC 6902): applied as ``json-patch.v4`` does, and made of the difference of two values."""

from __future__ import annotations

import copy
from typing import Any

import orjson

Operation = dict[str, Any]
MOST_COPIED = 3 * 2**20
"""Bytes that the copies of one patch add (``JSONPatchMaxCopyBytes`` of kube-apiserver)."""
_SORTED = orjson.OPT_SORT_KEYS


class PatchError(ValueError):
    """An operation that cannot be done; worded as json-patch words it."""


class TestFailed(PatchError):
    """A test that found another value."""


def apply(patch: list[Operation], value: Any) -> Any:
    """A new value. Raises PatchError."""
    made = copy.deepcopy(value)
    copied = 0
    for operation in patch:
        if operation.get("op") == "copy" and isinstance(operation.get("from"), str):
            copied += _size(made, operation["from"])
            if copied > MOST_COPIED:
                why = f"the accumulated size increase of copy is {copied}, exceeding the limit {MOST_COPIED}"
                raise PatchError(f"Unable to complete the copy, {why}")
        made = _applied(operation, made)
    return made


def difference(before: Any, after: Any, path: str = "") -> list[Operation]:
    """What makes ``after`` of ``before``: objects key by key, everything else as a whole."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [] if same(before, after) else [{"op": "replace", "path": path, "value": after}]
    found = [{"op": "remove", "path": f"{path}/{_escaped(key)}"} for key in before if key not in after]
    for key, value in after.items():
        at = f"{path}/{_escaped(key)}"
        if key in before:
            found += difference(before[key], value, at)
        else:
            found.append({"op": "add", "path": at, "value": value})
    return found


def same(one: Any, other: Any) -> bool:
    """Whether they are the same JSON: to Python, true is 1."""
    return one == other and orjson.dumps(one, option=_SORTED) == orjson.dumps(other, option=_SORTED)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _applied(operation: Operation, value: Any) -> Any:
    op, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise PatchError("operation missing path field: missing value")
    if op == "add":
        return _add(value, path, _value(operation), f'add operation does not apply: doc is missing path: "{path}"', op)
    if op == "remove":
        return _remove(value, path, f'remove operation does not apply: doc is missing path: "{path}"', op)
    if op == "replace":
        return _replace(value, path, _value(operation))
    if op == "test":
        _test(value, path, operation.get("value"))
        return value
    if op not in ("move", "copy"):
        raise PatchError(f"Unexpected kind: {op}")
    source = operation.get("from")
    if not isinstance(source, str):
        raise PatchError("operation, missing from field: missing value")
    missing = f"{op} operation does not apply: doc is missing from path: {source}"
    content = copy.deepcopy(_get(value, source, missing, op))
    if op == "move":
        value = _remove(value, source, missing, op)
    return _add(value, path, content, f"{op} operation does not apply: doc is missing destination path: {path}", op)


def _size(value: Any, pointer: str) -> int:
    """Of what would be copied, in JSON."""
    try:
        return len(orjson.dumps(_get(value, pointer, "", "copy")))
    except PatchError:  # which is told when it is tried
        return 0


def _value(operation: Operation) -> Any:
    return copy.deepcopy(operation.get("value"))


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _container(value: Any, pointer: str, missing: str) -> tuple[Any, str]:
    """An object or list, and the last step. Raises PatchError."""
    *steps, last = _steps(pointer) or [""]
    if "/" not in pointer:  # nothing is added to, or removed from, a whole document
        value = None
    for step in steps:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and (index := _index(step, len(value))) is not None:
            value = value[index]
        else:
            value = None
    if not isinstance(value, dict | list):
        raise PatchError(f"{missing}: missing value")
    return value, last


def _get(value: Any, pointer: str, missing: str, op: str) -> Any:
    container, last = _container(value, pointer, missing)
    if isinstance(container, dict):
        return container.get(last)
    return container[_checked(last, len(container), pointer, op)]


def _add(value: Any, pointer: str, content: Any, missing: str, op: str) -> Any:
    container, last = _container(value, pointer, missing)
    if isinstance(container, dict):
        container[last] = content
    else:
        size = len(container)
        container.insert(size if last == "-" else _checked(last, size + 1, pointer, op), content)
    return value


def _remove(value: Any, pointer: str, missing: str, op: str) -> Any:
    container, last = _container(value, pointer, missing)
    if isinstance(container, dict):
        if last not in container:
            why = f"Unable to remove nonexistent key: {last}: missing value"
            raise PatchError(f"error in {op} for path: '{pointer}': {why}")
        del container[last]
    else:
        del container[_checked(last, len(container), pointer, op)]
    return value


def _replace(value: Any, pointer: str, content: Any) -> Any:
    if not pointer:
        return content
    what = "replace operation does not apply: doc is missing"
    container, last = _container(value, pointer, f"{what} path: {pointer}")
    at: Any = last if isinstance(container, dict) else _index(last, len(container))
    if at is None or (isinstance(container, dict) and at not in container):
        raise PatchError(f"{what} key: {pointer}: missing value")
    container[at] = content
    return value


def _test(value: Any, pointer: str, wanted: Any) -> None:
    missing = f"test operation does not apply: is missing path: {pointer}"
    found = _get(value, pointer, missing, "test") if pointer else value
    if not same(found, wanted):
        raise TestFailed(f"testing value {pointer} failed: test failed")


def _checked(step: str, size: int, pointer: str, op: str) -> int:
    index = _index(step, size)
    if index is None:
        why = f"Unable to access invalid index: {step}: invalid index referenced"
        raise PatchError(f"error in {op} for path: '{pointer}': {why}")
    return index


def _index(step: str, size: int) -> int | None:
    if not step.lstrip("-").isdecimal():
        return None
    index = int(step) + (size if step.startswith("-") else 0)
    return index if 0 <= index < size else None
