"""Expressions of admission: their variables, their budgets, and what their errors are called.

Follows k8s.io/apiserver/pkg/admission/plugin/cel (``condition.go``, ``activation.go``, ``composition.go``) and
``.../webhook/matchconditions``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.admission.cel.authorization import Ask, Authorizer, Question, ResourceCheck, Verdict
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.frame import PER_CALL_LIMIT, Fields, Frame
from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.values import CelError, OutOfBudget

BUDGET = 10_000_000
"""Cost of all validations and messages of a policy about one request (``RuntimeCELCostBudget``)."""
CONDITIONS_BUDGET = 2_500_000
"""The same of all match conditions."""
SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"

ROOTS = frozenset({"object", "oldObject", "request", "namespaceObject"})
AUTHORIZER = frozenset({"authorizer", "authorizer.requestResource"})
PARAMS, VARIABLES = "params", "variables"


class Spent(CelError):
    """A budget is: nothing more is evaluated."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """One request, names as the workspace has them."""

    object: Any
    old_object: Any
    request: Mapping[str, Any]
    """An AdmissionRequest without uid and objects."""
    namespace: Any
    """Namespace in which it is, as `namespace_object` makes it; None for what is in none."""
    params: Any
    ask: Ask

    def names(self, *, namespace: bool = True, authorizer: bool = True) -> dict[str, Any]:
        names = {
            "object": self.object, "oldObject": self.old_object, "request": self.request, "params": self.params,
            "namespaceObject": self.namespace if namespace else None,
        }  # fmt: skip
        if authorizer:
            asking, resource = Authorizer(self.ask), self.request["resource"]
            names["authorizer"] = asking
            names["authorizer.requestResource"] = ResourceCheck(
                asking, resource["group"], resource["resource"], self.request.get("subResource", ""),
                self.request.get("namespace", ""), self.request.get("name", ""),
            )  # fmt: skip
        return names


_KEPT = (
    "name", "generateName", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "finalizers",
)  # fmt: skip


def namespace_object(namespace: Mapping[str, Any]) -> Mapping[str, Any]:
    """``CreateNamespaceObject``: what of a Namespace expressions see."""
    meta = namespace["metadata"]
    return {
        "metadata": {key: meta[key] for key in _KEPT if key in meta},
        "spec": namespace.get("spec") or {},
        "status": namespace.get("status") or {},
    }


LONGEST = 3.0
"""Seconds of a core that a budget lasts in any case: a kube-apiserver needs a tenth of the time for the same cost."""


class Budget:
    """What is left of one."""

    __slots__ = ("_until", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self._until = time.thread_time() + LONGEST

    def take(self, cost: int) -> None:
        """Raises Spent."""
        self.left -= cost
        if self.left < 0 or time.thread_time() > self._until:
            raise Spent(SPENT)


@dataclass(frozen=True, slots=True)
class Declared:
    """What expressions of a policy may use: its own variables and, where it has a kind of them, parameters."""

    variables: Mapping[str, Program]
    has_params: bool = False

    def compile(self, text: str, *, authorizer: bool = True, mutates: bool = False) -> Program:
        """Raises CelError."""
        names = ROOTS | {VARIABLES}
        if authorizer:
            names |= AUTHORIZER
        return Program(text, names | {PARAMS} if self.has_params else names, mutates=mutates)


class Variables(Fields):
    """``variables.x``: each is evaluated when it is first used, in all expressions of one evaluation anew."""

    def __init__(self, programs: Mapping[str, Program], names: Mapping[str, Any]) -> None:
        self._programs = programs
        self._names = names
        self._known: dict[str, Any] = {}
        self.cost = 0

    def field(self, name: str) -> Any:
        program = self._programs[name]
        if name not in self._known:
            frame = Frame(self._names)
            try:
                self._known[name] = program(frame)
            except CelError as error:
                self._known[name] = CelError(f"composited variable {quoted(name)} fails to evaluate: {error}")
            finally:
                self.cost += frame.cost
        value = self._known[name]
        if isinstance(value, CelError):
            raise value
        return value


class Evaluation:
    """Of expressions about one request, which share their variables' values."""

    def __init__(self, declared: Declared, names: dict[str, Any], budget: Budget) -> None:
        self._names = names
        self._variables = names[VARIABLES] = Variables(declared.variables, names)
        self._budget = budget

    def __call__(self, program: Program) -> Any:
        """Raises CelError in the words of an apiserver, Spent."""
        frame = Frame(self._names, PER_CALL_LIMIT)
        before = self._variables.cost
        failed: CelError | None = None
        value = None
        try:
            value = program(frame)
        except CelError as error:
            failed = error
        self._budget.take(self._variables.cost - before)
        self._budget.take(frame.cost if not isinstance(failed, OutOfBudget) else PER_CALL_LIMIT)
        if failed is not None:
            raise CelError(f"expression '{program.text}' resulted in error: {failed}") from None
        return value


def conditions_hold(conditions: Sequence[Program], declared: Declared, inputs: Inputs) -> bool:
    """Whether all of ``matchConditions`` are true; one that is false counts more than errors. Raises CelError."""
    evaluate = Evaluation(declared, inputs.names(namespace=False), Budget(CONDITIONS_BUDGET))
    errors: dict[str, None] = {}
    for condition in conditions:
        try:
            if evaluate(condition) is False:
                return False
        except Spent:
            raise
        except CelError as error:
            errors[str(error)] = None
    if errors:
        raise CelError(f"[{', '.join(errors)}]" if len(errors) > 1 else next(iter(errors)))
    return True


__all__ = ["Ask", "Inputs", "Question", "Verdict"]
