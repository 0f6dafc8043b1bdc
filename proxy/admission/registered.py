"""What a workspace cannot have of configurations that are good in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.admission.cel.values import CelError
from proxy.admission.conditions import compiled
from proxy.admission.expressions import NotCompiled
from proxy.admission.mutations import CompiledMutations
from proxy.admission.policy import CompiledPolicy
from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from proxy.mapping.registrations import GROUP, KINDS
from proxy.mapping.token import PREFIX_LENGTH

MOST_TEXT = 65536
"""Characters of all expressions of one object: a second of a core."""


def check_registration(obj: Object) -> None:
    """``obj``: complete, with names as on the shard. Raises StatusError 422, as for an invalid one.

    It takes as long as parsing takes: not for the event loop."""
    faults: dict[str, str] = {}
    if _text(obj) > MOST_TEXT:
        faults["spec" if "spec" in obj else "webhooks"] = f"Forbidden: more than {MOST_TEXT} characters of expressions"
        raise _invalid(obj, faults)
    if obj.get("kind") in _COMPILE:
        faults = _policy_faults(obj)
    for index, hook in enumerate(obj.get("webhooks") or ()):
        where = f"webhooks[{index}]"
        if (hook.get("clientConfig") or {}).get("service") is not None:
            why = "Forbidden: services of a workspace have no endpoints where it is served: give a url"
            faults[f"{where}.clientConfig.service"] = why
        for number, condition in enumerate(hook.get("matchConditions") or ()):
            try:
                compiled(condition["expression"])
            except CelError as error:
                why = f"Forbidden: it cannot be evaluated in a workspace: {error}"
                faults[f"{where}.matchConditions[{number}].expression"] = why
    if faults:
        raise _invalid(obj, faults)


def _text(value: Any) -> int:
    """How much of expressions is in it."""
    if isinstance(value, list):
        return sum(map(_text, value))
    if not isinstance(value, dict):
        return 0
    return sum(
        len(item) if isinstance(item, str) and key.lower().endswith("expression") else _text(item)
        for key, item in value.items()
    )


def _invalid(obj: Object, faults: dict[str, str]) -> StatusError:
    kind, name = obj["kind"], (obj["metadata"].get("name") or "")[PREFIX_LENGTH:]
    causes = [{"reason": "FieldValueForbidden", "message": why, "field": field} for field, why in faults.items()]
    said = ", ".join(f"{field}: {why}" for field, why in faults.items())
    return StatusError(
        422,
        f'{kind}.{GROUP} "{name}" is invalid: ' + (f"[{said}]" if len(faults) > 1 else said),
        details={"name": name, "group": GROUP, "kind": kind, "causes": causes},
    )


def _policy_faults(obj: Object) -> dict[str, str]:
    spec = obj.get("spec") or {}
    faults: dict[str, str] = {}
    if spec.get("paramKind") == {"apiVersion": "v1", "kind": "Secret"}:
        faults["spec.paramKind"] = "Forbidden: Secrets are no parameters: a policy tells what is in them"
    try:
        _COMPILE[obj["kind"]](spec)
    except NotCompiled as error:
        faults |= {
            field: f"Forbidden: it cannot be evaluated in a workspace: {why}" for field, why in error.faults.items()
        }
    return faults


_COMPILE: dict[str, Callable[[Mapping[str, Any]], object]] = {
    KINDS["validatingadmissionpolicies"]: CompiledPolicy,
    KINDS["mutatingadmissionpolicies"]: CompiledMutations,
}
