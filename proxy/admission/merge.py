"""An apply configuration merged into an object: sets and lists with keys by their items, what is atomic not at all.

Follows sigs.k8s.io/structured-merge-diff/v6/typed (``validate.go``, ``merge.go``) and
k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch/smd.go, words included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from proxy.admission.cel.goquote import quoted
from proxy.admission.schema import BOOLEAN, NUMERIC, STRING, Atom, ListOf, MapOf, Type

Fault = tuple[str, str]
"""Where, and what."""
_MISSING: Any = object()


class MergeError(ValueError):
    """Something that cannot be merged."""


def merged(of: Type, live: Any, patch: Any) -> Any:
    """A new value; what is in it may be shared with both. Raises MergeError."""
    _check("failed to convert patch object to typed object", validate(of, patch))
    atomics = list(_atomics(of, patch, ""))
    if atomics:
        listed = ", ".join(atomics)
        raise MergeError(f"invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {listed}")
    _check("failed to convert original object to typed object", validate(of, live, duplicates=True))
    return _merge(of, live, patch)


def _check(what: str, faults: list[Fault]) -> None:
    said = [f"{path}: {why}" if path else why for path, why in faults]
    if said:
        raise MergeError(f"{what}: " + (said[0] if len(said) == 1 else "\n  ".join(["errors:", *said])))


def validate(of: Type, value: Any, *, duplicates: bool = False) -> list[Fault]:
    """What is wrong with a value of that type. ``duplicates``: items with equal keys are not."""
    return list(_faults(of, value, "", duplicates))


def _faults(of: Type | None, value: Any, path: str, duplicates: bool) -> Iterator[Fault]:
    atom = of.atom.deduced(value) if of is not None else Atom()
    if atom.map is not None:
        if isinstance(value, dict):
            for key, item in value.items():
                where = atom.map.of(key)
                if where is None:
                    yield f"{path}.{key}", "field not declared in schema"
                    return
                yield from _faults(where, item, f"{path}.{key}", duplicates)
        elif value is not None:
            yield path, f"expected map, got &{{{_go(value)}}}"
    elif atom.scalar is not None:
        why = _scalar_fault(atom.scalar, value)
        if why:
            yield path, why
    elif atom.list is not None:
        if isinstance(value, list):
            yield from _faults_of_items(atom.list, value, path, duplicates)
        elif value is not None:
            yield path, f"expected list, got &{{{_go(value)}}}"
    else:
        yield path, "schema error: invalid atom: inlined"


def _faults_of_items(of: ListOf, items: list[Any], path: str, duplicates: bool) -> Iterator[Fault]:
    seen = set()
    for index, item in enumerate(items):
        where = f"{path}[{index}]"
        if of.associative:
            try:
                name, key = _element(of, item)
            except MergeError as error:
                yield path, f"element {index}: {error}"
                return
            where = path + name
            if key in seen and not duplicates:
                yield path, f"duplicate entries for key {name}"
            seen.add(key)
        yield from _faults(of.items, item, where, duplicates)


def _scalar_fault(scalar: str, value: Any) -> str:
    if value is None:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if scalar == NUMERIC:
        return "" if number else f"expected numeric (int or float), got {_go_type(value)}"
    if scalar == STRING:
        return (
            "" if isinstance(value, str) else f"expected string, got &value.valueUnstructured{{Value:{_sharp(value)}}}"
        )
    if scalar == BOOLEAN:
        return "" if isinstance(value, bool) else f"expected boolean, got &{{{_go(value)}}}"
    return "" if isinstance(value, str | int | float) else f"expected any scalar, got &{{{_go(value)}}}"


def _element(of: ListOf, item: Any) -> tuple[str, Any]:
    """An item's name in paths, and what is equal for equal ones. Raises MergeError."""
    if not of.keys:
        if isinstance(item, dict):
            raise MergeError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise MergeError("not supported: associative list with lists as elements")
        if item is None:
            raise MergeError("associative list without keys has an element that's an explicit null")
        return f"[={_shown(item)}]", _same(item)
    if item is None:
        raise MergeError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise MergeError("associative list with keys may not have non-map elements")
    found: dict[str, Any] = {}
    fields = of.items.atom.map
    for key in of.keys:
        if key in item:
            found[key] = item[key]
        elif fields is None:
            why = "associative list may not have non-map types"
            raise MergeError(f"couldn't find default value for {key}: {why}")
        elif key in fields.fields and fields.fields[key].default is not None:
            found[key] = fields.fields[key].default
    if not found:
        keys = "[" + " ".join(map(quoted, of.keys)) + "]"
        why = "associative list with keys has an element that omits all key fields"
        raise MergeError(f"{why} {keys} (and doesn't have default values for any key fields)")
    named = sorted(found.items())
    return (
        "[" + ",".join(f"{key}={_shown(value)}" for key, value in named) + "]",
        tuple((key, _same(value)) for key, value in named),
    )


def _atomics(of: Type, value: Any, path: str) -> Iterator[str]:
    """Where a patch would replace something as a whole, and so take away what it does not know of."""
    atom = of.atom
    if isinstance(value, dict) and atom.map is not None:
        if atom.map.atomic:
            yield path
        for key, item in value.items():
            if key in atom.map.fields:
                yield from _atomics(atom.map.fields[key], item, f"{path}.{key}")
    if isinstance(value, list) and atom.list is not None:
        if not atom.list.associative:
            yield path
        for index, item in enumerate(value):
            yield from _atomics(atom.list.items, item, f"{path}[{index}]")


def _merge(of: Type | None, live: Any, patch: Any) -> Any:
    if of is None:
        return patch if patch is not _MISSING else live
    atom = of.atom.deduced(live if patch is _MISSING else patch)
    if atom.map is not None:
        return _merge_maps(atom.map, live, patch)
    if atom.scalar is None and atom.list is not None:
        return _merge_lists(atom.list, live, patch)
    return _leaf(live, patch)


def _leaf(live: Any, patch: Any) -> Any:
    return patch if patch is not _MISSING else live


def _merge_maps(of: MapOf, live: Any, patch: Any) -> Any:
    left, right = (side if isinstance(side, dict) else {} for side in (live, patch))
    if of.atomic or not (left or right):
        return _leaf(live, patch)
    made = {}
    for key in [*left, *(key for key in right if key not in left)]:
        value = _merge(of.of(key), left.get(key, _MISSING), right.get(key, _MISSING))
        if value is not _MISSING:
            made[key] = value
    return made or _MISSING


def _merge_lists(of: ListOf, live: Any, patch: Any) -> Any:
    left, right = (side if isinstance(side, list) else [] for side in (live, patch))
    if not of.associative or not (left or right):
        return _leaf(live, patch)
    made = [
        value
        for old, new in _paired([(_element(of, item)[1], item) for item in left],
                                [(_element(of, item)[1], item) for item in right])
        if (value := _merge(of.items, old, new)) is not _MISSING
    ]  # fmt: skip
    return made or _MISSING


def _paired(left: list[tuple[Any, Any]], right: list[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """Items of two lists, in the order of their union: what both have stands as the right one says."""
    old: dict[Any, Any] = {}
    for key, item in left:
        old[key] = item if key not in old else None  # of items with equal keys nothing is merged
    new = dict(right)
    shared = iter([key for key, _ in right if key in old])
    following = next(shared, _MISSING)
    taken = set()
    at = of = 0
    while at < len(left) or of < len(right):
        if at < len(left) and of < len(right):
            key = left[at][0]
            if key == right[of][0]:
                taken.add(key)
                yield old[key], new[key]
                at, of = at + 1, of + 1
                following = next(shared, _MISSING)
                continue
            if key in new and following is not _MISSING and following != key:
                at += 1  # it comes later, where the right one has it
                continue
        if at < len(left):
            key, item = left[at]
            if key not in new:
                yield item, _MISSING
                at += 1
                continue
            if key in taken:
                at += 1
        if of < len(right):
            key = right[of][0]
            taken.add(key)
            yield old.get(key, _MISSING), new[key]
            of += 1
            if following is not _MISSING and following == key:
                following = next(shared, _MISSING)


def _same(value: Any) -> Any:
    """Numbers are equal by value, and nothing else is equal to one."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return tuple(map(_same, value))
    if isinstance(value, dict):
        return frozenset((key, _same(item)) for key, item in value.items())
    return value


def _shown(value: Any) -> str:
    """As ``value.ToString``."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_shown, value)) + "]"
    if isinstance(value, dict):
        return "".join(f"{key}={_shown(item)}" for key, item in value.items())
    return _go(value)


def _go(value: Any) -> str:
    """As Go's ``%v``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + " ".join(map(_go, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go(item)}" for key, item in sorted(value.items())) + "]"
    return str(value)


def _sharp(value: Any) -> str:
    """As Go's ``%#v``."""
    if isinstance(value, str):
        return quoted(value)
    show: Callable[[Any], str] = _sharp
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(show, value)) + "}"
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{quoted(k)}:{show(v)}" for k, v in sorted(value.items())) + "}"
    return "interface {}(nil)" if value is None else _go(value)


def _go_type(value: Any) -> str:
    """As Go's ``%T``."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    return "[]interface {}" if isinstance(value, list) else "map[string]interface {}"
