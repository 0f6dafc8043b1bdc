"""The plugin ValidatingAdmissionPolicy, for the policies of one workspace.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/validating/dispatcher.go, words included. Expressions are evaluated
in threads, one for a workspace at a time, so that what is dear for a tenant is not so for others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from proxy.admission.callback import Question
from proxy.admission.cel.admission import Inputs, namespace_object
from proxy.admission.cel.authorization import Question as Asked
from proxy.admission.cel.authorization import Verdict
from proxy.admission.configurations import Binding, Policy
from proxy.admission.matching import Seen
from proxy.admission.params import Misconfigured, ParamKind, Params
from proxy.admission.policy import CompiledPolicy, Decision, NotCompiled, Outcome
from proxy.admission.review import Review
from proxy.kube.errors import StatusError

THREADS = 2
"""For expressions, of one worker."""
ANSWERED_WITHIN = 10.0
"""Seconds for a question to the authorizer."""
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}

Authorize = Callable[[Question, Asked], Awaitable[bool]]


class _Denied(NamedTuple):
    policy: str
    binding: str | None
    decision: Decision


class Policies:
    """Of one worker."""

    def __init__(self, params: Params, authorize: Authorize) -> None:
        self._params = params
        self._authorize = authorize
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="policies")

    async def validate(self, question: Question) -> None:
        """Raises StatusError where a policy says no."""
        denied: list[_Denied] = []
        for policy, bindings in question.configured.bound:
            try:
                seen = await question.matcher.constrained(policy.spec.get("matchConstraints") or {})
                if seen is None:
                    continue
                said = policy.spec.get("paramKind")
                kind = self._params.kind(question.workspace, said) if said else None
            except (Misconfigured, StatusError) as error:
                _misconfigured(denied, policy, None, error)
                continue
            for binding in bindings:
                await self._bound(question, policy, binding, seen, kind, denied)
        if denied:
            raise _refusal(question.review, denied[0])

    async def _bound(
        self, question: Question, policy: Policy, binding: Binding, seen: Seen, kind: ParamKind | None,
        denied: list[_Denied],
    ) -> None:  # fmt: skip
        review = question.review
        try:
            resources = binding.spec.get("matchResources")
            if resources is not None and await question.matcher.constrained(resources) is None:
                return
            params = await self._params.collect(
                question.workspace, kind, binding.spec.get("paramRef"), review.namespace
            )
        except (Misconfigured, StatusError) as error:
            _misconfigured(denied, policy, binding, error)
            return
        if not params:
            return
        namespace = None
        if review.namespace and review.kind != ("", "v1", "Namespace"):
            found = await self._params.read(question.workspace, f"/api/v1/namespaces/{review.namespace}")
            namespace = namespace_object(found)
        request = seen.request(review)
        for param in params:
            outcome = await self._evaluate(question, policy, request, seen, namespace, param)
            _take(outcome, policy, binding, review, denied)

    async def _evaluate(
        self, question: Question, policy: Policy, request: Mapping[str, Any], seen: Seen, namespace: Any, param: Any
    ) -> Outcome:
        review, loop = question.review, asyncio.get_running_loop()

        def ask(asked: Asked) -> Verdict:
            """In the thread."""
            answer = asyncio.run_coroutine_threadsafe(self._allowed(question, asked), loop)
            try:
                return Verdict(answer.result(ANSWERED_WITHIN))
            except (StatusError, TimeoutError) as error:
                return Verdict(allowed=False, error=str(error) or "no answer in time")

        inputs = Inputs(seen.seen(review.object), seen.seen(review.old_object), request, namespace, param, ask)
        token = question.workspace.token
        turn = self._turns.get(token)
        if turn is None:
            turn = self._turns[token] = asyncio.Lock()
        async with turn:
            return await loop.run_in_executor(self._threads, _evaluated, policy, inputs)

    async def _allowed(self, question: Question, asked: Asked) -> bool:
        return await self._authorize(question, asked)


def _evaluated(policy: Policy, inputs: Inputs) -> Outcome:
    """In a thread, where compiling too is no burden to others."""
    try:
        compiled: CompiledPolicy = policy.compiled
    except NotCompiled as error:
        return Outcome((Decision(policy.spec.get("failurePolicy") != "Ignore", f"compilation error: {error}"),))
    return compiled.evaluate(inputs)


def _take(outcome: Outcome, policy: Policy, binding: Binding, review: Review, denied: list[_Denied]) -> None:
    actions = binding.spec.get("validationActions") or ()
    for decision in outcome.decisions:
        if not decision.denied:
            continue
        if "Deny" in actions:
            denied.append(_Denied(policy.name, binding.name, decision))
        if "Warn" in actions:
            of = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
            review.warnings.append(f"Validation failed for {of}: {decision.message}")
    denied += [
        _Denied(policy.name, binding.name, Decision(True, annotation.error))
        for annotation in outcome.annotations
        if annotation.error
    ]


def _misconfigured(denied: list[_Denied], policy: Policy, binding: Binding | None, error: Exception) -> None:
    if policy.spec.get("failurePolicy") == "Ignore":
        return
    message = f"failed to configure {'policy' if binding is None else 'binding'}: {error}"
    denied.append(_Denied(policy.name, binding.name if binding else None, Decision(True, message, "")))


def _refusal(review: Review, denied: _Denied) -> StatusError:
    """As ``admission.NewForbidden``, with the reason that the policy gives."""
    by = f" with binding '{denied.binding}'" if denied.binding else ""
    why = f"ValidatingAdmissionPolicy '{denied.policy}'{by} denied request: {denied.decision.message}"
    group, resource = review.resource.group, review.resource.resource
    meta = (review.object or {}).get("metadata") or {}
    name = review.name or meta.get("name") or meta.get("generateName") or "Unknown"
    what = f"{resource}.{group}" if group else resource
    reason = denied.decision.reason or "Invalid"
    details = {"name": name, **({"group": group} if group else {}), "kind": resource, "causes": [{"message": why}]}
    return StatusError(_CODES.get(reason, 422), f'{what} "{name}" is forbidden: {why}', reason=reason, details=details)
