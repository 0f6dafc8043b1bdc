"""One ValidatingAdmissionPolicy, compiled, and what it says about a request.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/validating (``plugin.go``, ``validator.go``), words included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from proxy.admission.cel.admission import BUDGET, Budget, Evaluation, Inputs, Spent
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.values import CelError, type_of
from proxy.admission.expressions import Expressions

LONGEST_MESSAGE = 5 * 1024
"""Bytes of a message that an expression makes."""


class Decision(NamedTuple):
    """Of one validation."""

    denied: bool
    message: str = ""
    reason: str = "Invalid"


class Annotation(NamedTuple):
    """For the audit log; one that has failed denies the request."""

    key: str
    value: str
    error: str = ""


class Outcome(NamedTuple):
    decisions: Sequence[Decision]
    annotations: Sequence[Annotation] = ()


@dataclass(frozen=True, slots=True)
class _Validation:
    said: Mapping[str, Any]
    expression: Program
    message: Program | None


class CompiledPolicy:
    """``spec`` of a ValidatingAdmissionPolicy with its defaults."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        """Raises NotCompiled."""
        self.fails: Literal[True, False] = spec.get("failurePolicy") != "Ignore"
        """Whether what cannot be decided is denied."""
        self._expressions = expressions = Expressions(spec)
        self._validations = []
        for index, validation in enumerate(spec.get("validations") or ()):
            where = f"spec.validations[{index}]"
            expression = expressions.compile(f"{where}.expression", validation["expression"])
            text = validation.get("messageExpression")
            message = expressions.compile(f"{where}.messageExpression", text, authorizer=False) if text else None
            if expression is not None:
                self._validations.append(_Validation(validation, expression, message))
        self._annotations = [
            (annotation["key"], program)
            for index, annotation in enumerate(spec.get("auditAnnotations") or ())
            if (
                program := expressions.compile(
                    f"spec.auditAnnotations[{index}].valueExpression", annotation["valueExpression"]
                )
            )
        ]
        expressions.check()

    def evaluate(self, inputs: Inputs) -> Outcome:
        """What it says, with one parameter or none."""
        try:
            if not self._expressions.match(inputs):
                return Outcome(())
            declared, budget = self._expressions.declared, Budget(BUDGET)
            evaluate = Evaluation(declared, inputs.names(), budget)
            worded = Evaluation(declared, inputs.names(authorizer=False), budget)
            decisions = [self._decide(validation, evaluate, worded) for validation in self._validations]
            annotate = Evaluation(declared, inputs.names(), Budget(BUDGET))
            return Outcome(decisions, [self._annotate(key, program, annotate) for key, program in self._annotations])
        except CelError as error:
            return Outcome((Decision(self.fails, str(error)),))

    def _decide(self, validation: _Validation, evaluate: Evaluation, worded: Evaluation) -> Decision:
        """Raises Spent."""
        try:
            if evaluate(validation.expression) is True:
                return Decision(denied=False)
        except Spent:
            raise
        except CelError as error:
            return Decision(self.fails, str(error))
        message = ""
        if validation.message is not None:
            try:
                message = _message(worded(validation.message))
            except Spent as error:
                return Decision(self.fails, f"failed messageExpression: {error}")
            except CelError:  # then it is worded as if there were none
                pass
        said = validation.said
        message = message or (said.get("message") or "").strip()
        return Decision(
            True, message or f"failed expression: {said['expression'].strip()}", said.get("reason") or "Invalid"
        )

    def _annotate(self, key: str, program: Program, evaluate: Evaluation) -> Annotation:
        """Raises Spent."""
        try:
            value = evaluate(program)
        except Spent:
            raise
        except CelError as error:
            return Annotation(key, "", str(error) if self.fails else "")
        if value is None or isinstance(value, str):
            return Annotation(key, (value or "").strip())
        kind = type_of(value).name
        return Annotation(
            key, "",
            f"valueExpression '{program.text}' resulted in unsupported return type: {kind}. "
            "Return type must be either string or null.",
        )  # fmt: skip


def _message(value: Any) -> str:
    """What is of no use as a message is none."""
    if not isinstance(value, str):
        return ""
    message = value.strip()
    return "" if "\n" in message or len(message.encode()) > LONGEST_MESSAGE else message
