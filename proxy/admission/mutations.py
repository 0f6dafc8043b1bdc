"""One MutatingAdmissionPolicy, compiled, and what its mutations make of an object.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/mutating (``compilation.go``, ``patch``), words included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.admission.cel.admission import BUDGET, Budget, Evaluation, Inputs
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.messages import Room, check_names, operations, plain
from proxy.admission.cel.values import CelError
from proxy.admission.expressions import Expressions
from proxy.admission.jsonpatch import PatchError, TestFailed, apply
from proxy.admission.merge import MergeError, merged
from proxy.admission.schema import Type
from proxy.admission.webhooks import internal
from proxy.kube.client import Object

_FIELDS = {"JSONPatch": "jsonPatch", "ApplyConfiguration": "applyConfiguration"}
"""Patch type → where its expression is."""


class MutationError(ValueError):
    """A mutation that cannot be had; the failure policy says what that means."""


class CompiledMutations:
    """``spec`` of a MutatingAdmissionPolicy with its defaults."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Raises NotCompiled."""
        self._expressions = expressions = Expressions(spec)
        self._mutations: list[tuple[str, Program | None]] = []
        for index, mutation in enumerate(spec.get("mutations") or ()):
            kind = mutation["patchType"]
            field = _FIELDS[kind]
            text = mutation[field]["expression"]
            program = expressions.compile(f"spec.mutations[{index}].{field}.expression", text, mutates=True)
            self._mutations.append((kind, program))
        expressions.check()

    def __len__(self) -> int:
        return len(self._mutations)

    def match(self, inputs: Inputs) -> bool:
        """Whether all match conditions are true. Raises CelError."""
        return self._expressions.match(inputs)

    def mutate(self, index: int, inputs: Inputs, of: Type, *, strict: bool) -> Object:
        """What one of them makes of the object. ``of``: its type; ``strict``: whether it has no fields but those.

        Raises MutationError, and StatusError for what is no object of that kind any more.
        """
        kind, program = self._mutations[index]
        assert program is not None
        try:
            value = Evaluation(self._expressions.declared, inputs.names(), Budget(BUDGET))(program)
            if kind == "JSONPatch":
                return _patched(inputs.object, operations(value), of, strict)
            patch = plain(value, Room())
            check_names(value)
            return _applied(inputs.object, patch, of)
        except CelError as error:
            raise MutationError(str(error)) from None
        except RecursionError:
            raise MutationError("value is nested too deep") from None


def _applied(live: Object, patch: Object, of: Type) -> Object:
    given = {key: live[key] for key in ("apiVersion", "kind") if key in live}
    try:
        made: Object = merged(of, live, patch | given)
    except MergeError as error:
        raise MutationError(f"error applying patch: {error}") from None
    return made


def _patched(live: Object, patch: list[dict[str, Any]], of: Type, strict: bool) -> Object:
    try:
        made = apply(patch, live)
    except TestFailed:
        return live
    except PatchError as error:
        raise MutationError(f"JSON Patch: {error}") from None
    if not isinstance(made, dict):
        raise internal("json: cannot unmarshal into Go value of type map[string]interface {}")
    unknown = [f"unknown field {quoted(path)}" for path in _unknown(of, made, "")] if strict else []
    if unknown:
        raise internal(f"strict decoding error: {', '.join(unknown)}")
    return made


def _unknown(of: Type, value: Any, path: str) -> Iterator[str]:
    """Fields that the type does not have, as strict decoding names them."""
    atom = of.atom
    if isinstance(value, dict) and atom.map is not None:
        for key, item in value.items():
            at = f"{path}.{key}" if path else key
            field = atom.map.of(key)
            if field is None:
                yield at
            else:
                yield from _unknown(field, item, at)
    elif isinstance(value, list) and atom.list is not None:
        for index, item in enumerate(value):
            yield from _unknown(atom.list.items, item, f"{path}[{index}]")
