"""Which policies act on a request, through which of their bindings, and with which parameters.

Follows k8s.io/apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go, words included.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, NamedTuple

from proxy.admission.callback import Question
from proxy.admission.cel.admission import namespace_object
from proxy.admission.configurations import Binding, Policy
from proxy.admission.matching import Seen
from proxy.admission.params import Misconfigured, Params
from proxy.admission.review import Review
from proxy.kube.client import Object
from proxy.kube.errors import StatusError


class Invocation(NamedTuple):
    policy: Policy
    binding: Binding
    seen: Seen
    param: Object | None


class Misconfiguration(NamedTuple):
    """A policy, or one of its bindings, of which nobody can say whether it acts."""

    policy: Policy
    binding: Binding | None
    why: str


async def invocations(
    params: Params, question: Question, bound: Iterable[tuple[Policy, tuple[Binding, ...]]]
) -> AsyncIterator[Invocation | Misconfiguration]:
    for policy, bindings in bound:
        try:
            seen = await question.matcher.constrained(policy.spec.get("matchConstraints") or {})
            if seen is None:
                continue
            said = policy.spec.get("paramKind")
            kind = params.kind(question.workspace, said) if said else None
        except (Misconfigured, StatusError) as error:
            yield Misconfiguration(policy, None, f"failed to configure policy: {error}")
            continue
        for binding in bindings:
            try:
                resources = binding.spec.get("matchResources")
                if resources is not None and await question.matcher.constrained(resources) is None:
                    continue
                namespace = question.review.namespace
                found = await params.collect(question.workspace, kind, binding.spec.get("paramRef"), namespace)
            except (Misconfigured, StatusError) as error:
                yield Misconfiguration(policy, binding, f"failed to configure binding: {error}")
                continue
            for param in found:
                yield Invocation(policy, binding, seen, param)


async def namespace_of(params: Params, question: Question) -> Any:
    """The namespace in which the object is, as expressions see it; None for what is in none. Raises StatusError."""
    review = question.review
    if not review.namespace or review.kind == ("", "v1", "Namespace"):
        return None
    return namespace_object(await params.read(question.workspace, f"/api/v1/namespaces/{review.namespace}"))


def about(review: Review) -> tuple[str, Object]:
    """What is refused, as ``admission.NewForbidden`` calls it, and the Status' details without causes."""
    group, resource = review.resource.group, review.resource.resource
    meta = (review.object or {}).get("metadata") or {}
    name = review.name or meta.get("name") or meta.get("generateName") or "Unknown"
    what = f"{resource}.{group}" if group else resource
    return f'{what} "{name}"', {"name": name, **({"group": group} if group else {}), "kind": resource}
