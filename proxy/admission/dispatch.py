"""All webhooks of a workspace that are about a request: mutating ones one after the other, validating ones at once.

Follows ``k8s.io/apiserver/pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from proxy.admission.calls import Caller
from proxy.admission.configurations import Webhook
from proxy.admission.jsonpatch import PatchError, apply, same
from proxy.admission.matching import Invocation, Matcher
from proxy.admission.review import Review
from proxy.admission.rounds import Rounds
from proxy.admission.webhooks import Failed, ask, internal
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)

WITHIN = 28.0
"""Seconds for all webhooks of a request: the shard waits 30."""


async def mutate(
    caller: Caller, token: str, webhooks: Sequence[Webhook], review: Review, matcher: Matcher, rounds: Rounds,
    end: float,
) -> None:  # fmt: skip
    """Put what they make of the object into ``review``, by ``end`` (of ``time.monotonic``). Raises StatusError where
    one of them says no, or fails."""
    invoked = rounds.of("MutatingAdmissionWebhook")
    invoked.begin(review.object, second=rounds.second)
    for hook in webhooks:
        if rounds.second and not invoked.is_due(hook.uid):
            continue
        invocation = await matcher.invocation(hook)
        if invocation is None:
            continue
        if await _mutated(caller, token, invocation, review, end - time.monotonic()):
            invoked.changed()
            rounds.wanted = True
        invoked.called(hook.uid, wants_more=hook.said.get("reinvocationPolicy") == "IfNeeded")
    invoked.end(review.object)


async def _mutated(caller: Caller, token: str, invocation: Invocation, review: Review, left: float) -> bool:
    """Whether the object is another one now."""
    hook = invocation.webhook
    try:
        answer = await ask(caller, token, invocation, review, mutating=True, left=left)
    except Failed as error:
        if hook.ignores_failures:
            log.info("%s; it is not needed", error)
            return False
        raise internal(str(error)) from error
    if not answer.patch:
        return False
    if review.object is None:
        why = (
            f'admission webhook "{hook.name}" attempted to modify the object, which is not supported for this operation'
        )
        raise internal(why)
    seen = f"{invocation.kind.group}/{invocation.kind.version}" if invocation.kind.group else invocation.kind.version
    version = review.object.get("apiVersion")
    other = invocation.kind != review.kind
    try:
        made = apply(answer.patch, {**review.object, "apiVersion": seen} if other else review.object)
    except PatchError as error:
        raise internal(str(error)) from error
    if not isinstance(made, dict):
        raise internal("json: cannot unmarshal into Go value of type map[string]interface {}")
    if other:
        made["apiVersion"] = version
    changed = not same(made, review.object)
    review.object = made
    return changed


async def validate(caller: Caller, token: str, webhooks: Sequence[Webhook], review: Review, matcher: Matcher) -> None:
    """Raises StatusError where one of them says no, or fails."""
    found = [await matcher.invocation(hook) for hook in webhooks]
    invocations = [invocation for invocation in found if invocation is not None]
    if not invocations:
        return
    asked = (_validated(caller, token, invocation, review) for invocation in invocations)
    refusals = [error for error in await asyncio.gather(*asked) if error is not None]
    if refusals:
        raise refusals[0]


async def _validated(caller: Caller, token: str, invocation: Invocation, review: Review) -> StatusError | None:
    try:
        await ask(caller, token, invocation, review, mutating=False, left=WITHIN)
    except Failed as error:
        if not invocation.webhook.ignores_failures:
            return internal(str(error))
        log.info("%s; it is not needed", error)
    except StatusError as error:
        return error
    return None
