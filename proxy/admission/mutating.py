"""The plugin MutatingAdmissionPolicy, for the policies of one workspace.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go, words included. Policies and bindings act
in the order of their names; in a cluster there is none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from proxy.admission.callback import Question
from proxy.admission.cel.admission import Inputs
from proxy.admission.cel.values import CelError
from proxy.admission.configurations import MUTATING_POLICIES, Binding, Policy
from proxy.admission.expressions import NotCompiled
from proxy.admission.invocations import Invocation, Misconfiguration, about, invocations, namespace_of
from proxy.admission.jsonpatch import same
from proxy.admission.kinds import Kinds
from proxy.admission.mutations import CompiledMutations, MutationError
from proxy.admission.params import Params
from proxy.admission.review import Review
from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS

NAME = "MutatingAdmissionPolicy"


class _Failed(NamedTuple):
    policy: Policy
    binding: Binding | None
    why: str
    reason: str = ""


class MutatingPolicies:
    """Of one worker."""

    def __init__(self, params: Params, kinds: Kinds) -> None:
        self._params = params
        self._kinds = kinds

    async def mutate(self, question: Question) -> None:
        """Put what they make of the object into the review. Raises StatusError where one of them fails."""
        review = question.review
        if review.operation == "DELETE":
            return
        failed: list[_Failed] = []
        acting: list[Invocation] = []
        async for found in invocations(self._params, question, question.configured.bound(MUTATING_POLICIES)):
            if isinstance(found, Misconfiguration):
                failed.append(_Failed(*found))
            else:
                acting.append(found)
        if acting:
            invoked = question.rounds.of(NAME)
            invoked.begin(review.object, second=question.rounds.second)
            namespace = await namespace_of(self._params, question)
            mutated = False
            for invocation in acting:
                mutated |= await self._invoke(question, invocation, namespace, failed)
            if mutated:  # whether anything is different now or not
                invoked.changed()
                question.rounds.wanted = True
            invoked.end(review.object)
        failed = [failure for failure in failed if not failure.policy.ignores_failures]
        if failed:
            raise _refusal(review, failed)

    async def _invoke(self, question: Question, found: Invocation, namespace: Any, failed: list[_Failed]) -> bool:
        """Whether one of the policy's mutations was had. Raises StatusError."""
        policy, binding = found.policy, found.binding
        rounds, review = question.rounds, question.review
        invoked = rounds.of(NAME)
        inputs = self._inputs(question, found, namespace)
        try:
            compiled = await question.evaluating.run(lambda: _matching(policy, inputs))
            if compiled is None:
                return False
        except (NotCompiled, CelError) as error:
            failed.append(_Failed(policy, binding, str(error), "Invalid"))
            return False
        meta = (found.param or {}).get("metadata") or {}
        key = (policy.name, binding.name, meta.get("namespace"), meta.get("name"))
        if rounds.second and not invoked.is_due(key):
            return False
        before, mutated = review.object, False
        for index in range(len(compiled)):
            if review.object is None:
                continue
            try:
                review.object = await self._mutated(question, found, namespace, compiled, index)
                mutated = True
            except MutationError as error:
                failed.append(_Failed(policy, binding, str(error), "Invalid"))
        if not same(before, review.object):
            invoked.changed()
            rounds.wanted = True
        invoked.called(key, wants_more=policy.spec.get("reinvocationPolicy") == "IfNeeded")
        return mutated

    async def _mutated(
        self, question: Question, found: Invocation, namespace: Any, compiled: CompiledMutations, index: int
    ) -> Object:
        """Raises MutationError, StatusError."""
        kind, workspace = found.seen.kind, question.workspace
        of = await self._kinds.of(workspace, kind, found.seen.resource)
        if of is None:
            known_as = f"{kind.group}/{kind.version}, Kind={kind.kind}"
            why = "There can be a delay between when CustomResourceDefinitions are created and when they are available."
            raise StatusError(503, f"Resource kind {known_as} not found. {why}")
        inputs = self._inputs(question, found, namespace)
        strict = kind.group in NATIVE_GROUPS
        made = await question.evaluating.run(lambda: compiled.mutate(index, inputs, of, strict=strict))
        assert question.review.object is not None
        given = question.review.object.get("apiVersion")
        return made if given is None or made.get("apiVersion") == given else {**made, "apiVersion": given}

    def _inputs(self, question: Question, found: Invocation, namespace: Any) -> Inputs:
        review, seen = question.review, found.seen
        return Inputs(
            seen.seen(review.object), seen.seen(review.old_object), seen.request(review), namespace, found.param,
            question.evaluating.ask,
        )  # fmt: skip


def _matching(policy: Policy, inputs: Inputs) -> CompiledMutations | None:
    """In a thread, where compiling too is no burden to others. Raises NotCompiled, CelError."""
    compiled = policy.compiled(CompiledMutations)
    return compiled if compiled.match(inputs) else None


def _refusal(review: Review, failed: list[_Failed]) -> StatusError:
    said = [
        f"policy '{policy.name}' with binding '{binding.name}' denied request: {why}"
        if binding
        else f'policy "{policy.name}" denied request: {why}'
        for policy, binding, why, _ in failed
    ]
    details = about(review)[1] | {"causes": [{"message": message} for message in said]}
    return StatusError(403, said[0], reason=failed[0].reason or "Forbidden", details=details)
