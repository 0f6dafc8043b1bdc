"""The plugin ValidatingAdmissionPolicy, for the policies of one workspace.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go, words included.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy.admission.callback import Question
from proxy.admission.cel.admission import Inputs
from proxy.admission.configurations import POLICIES, Policy
from proxy.admission.expressions import NotCompiled
from proxy.admission.invocations import Invocation, Misconfiguration, about, invocations, namespace_of
from proxy.admission.params import Params
from proxy.admission.policy import CompiledPolicy, Decision, Outcome
from proxy.admission.review import Review
from proxy.kube.errors import StatusError

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}


class _Denied(NamedTuple):
    policy: str
    binding: str | None
    decision: Decision


class Policies:
    """Of one worker."""

    def __init__(self, params: Params) -> None:
        self._params = params

    async def validate(self, question: Question) -> None:
        """Raises StatusError where a policy says no."""
        denied: list[_Denied] = []
        namespace, known = None, False
        async for found in invocations(self._params, question, question.configured.bound(POLICIES)):
            if isinstance(found, Misconfiguration):
                if not found.policy.ignores_failures:
                    decision = Decision(True, found.why, "")
                    denied.append(_Denied(found.policy.name, found.binding.name if found.binding else None, decision))
                continue
            if not known:
                namespace, known = await namespace_of(self._params, question), True
            outcome = await self._evaluate(question, found, namespace)
            _take(outcome, found, question.review, denied)
        if denied:
            raise _refusal(question.review, denied[0])

    async def _evaluate(self, question: Question, found: Invocation, namespace: Any) -> Outcome:
        review, seen = question.review, found.seen
        inputs = Inputs(
            seen.seen(review.object), seen.seen(review.old_object), seen.request(review), namespace, found.param,
            question.evaluating.ask,
        )  # fmt: skip
        return await question.evaluating.run(lambda: _evaluated(found.policy, inputs))


def _evaluated(policy: Policy, inputs: Inputs) -> Outcome:
    """In a thread, where compiling too is no burden to others."""
    try:
        return policy.compiled(CompiledPolicy).evaluate(inputs)
    except NotCompiled as error:
        return Outcome((Decision(not policy.ignores_failures, f"compilation error: {error}"),))


def _take(outcome: Outcome, found: Invocation, review: Review, denied: list[_Denied]) -> None:
    policy, binding = found.policy.name, found.binding.name
    actions = found.binding.spec.get("validationActions") or ()
    for decision in outcome.decisions:
        if not decision.denied:
            continue
        if "Deny" in actions:
            denied.append(_Denied(policy, binding, decision))
        if "Warn" in actions:
            of = f"ValidatingAdmissionPolicy '{policy}' with binding '{binding}'"
            review.warnings.append(f"Validation failed for {of}: {decision.message}")
    denied += [
        _Denied(policy, binding, Decision(True, annotation.error))
        for annotation in outcome.annotations
        if annotation.error
    ]


def _refusal(review: Review, denied: _Denied) -> StatusError:
    """As ``admission.NewForbidden``, with the reason that the policy gives."""
    by = f" with binding '{denied.binding}'" if denied.binding else ""
    why = f"ValidatingAdmissionPolicy '{denied.policy}'{by} denied request: {denied.decision.message}"
    what, details = about(review)
    reason = denied.decision.reason or "Invalid"
    details |= {"causes": [{"message": why}]}
    return StatusError(_CODES.get(reason, 422), f"{what} is forbidden: {why}", reason=reason, details=details)
