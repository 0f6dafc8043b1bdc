"""``matchConditions`` of webhooks: expressions that say whether one is called.

Follows ``k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from proxy.admission.cel.admission import AUTHORIZER, ROOTS, Declared, Inputs, conditions_hold
from proxy.admission.cel.evaluate import Program
from proxy.admission.cel.values import CelError
from proxy.admission.configurations import Webhook
from proxy.admission.evaluator import Evaluating
from proxy.admission.review import Review
from proxy.kube.client import Object
from proxy.kube.errors import StatusError

NAMES = ROOTS - {"namespaceObject"} | AUTHORIZER
_NOTHING_MORE = Declared({})


@lru_cache(maxsize=1024)
def compiled(text: str) -> Program:
    """Raises CelError."""
    return Program(text, NAMES)


async def hold(
    webhook: Webhook, review: Review, request: Object, objects: tuple[Any, Any], evaluating: Evaluating
) -> bool:
    """Whether all are true. ``request`` and ``objects`` (as it is, as it was) as the webhook would see them.

    Raises StatusError 403 where that cannot be told and the webhook must not be left out.
    """
    inputs = Inputs(objects[0], objects[1], request, None, None, evaluating.ask)
    try:
        return await evaluating.run(lambda: _hold(webhook, inputs))
    except CelError as error:
        if webhook.ignores_failures:
            return False
        raise forbidden(review, str(error)) from None


def _hold(webhook: Webhook, inputs: Inputs) -> bool:
    programs = [compiled(condition["expression"]) for condition in webhook.said["matchConditions"]]
    return conditions_hold(programs, _NOTHING_MORE, inputs)


def forbidden(review: Review, why: str) -> StatusError:
    """As ``apierrors.NewForbidden``."""
    group, _, resource = review.resource
    what = f"{resource}.{group}" if group else resource
    said = f'{what} "{review.name}" is forbidden: {why}' if review.name else f"{what} is forbidden: {why}"
    details = {"name": review.name, "group": group, "kind": resource}
    return StatusError(403, said, details={key: value for key, value in details.items() if value})
