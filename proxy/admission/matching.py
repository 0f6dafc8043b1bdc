"""Whether a webhook or a policy is about a request, and how it sees the request's kind.

Follows ``ShouldCallHook`` of k8s.io/apiserver/pkg/admission/plugin/webhook/generic.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.admission.conditions import hold
from proxy.admission.configurations import Webhook
from proxy.admission.evaluator import Evaluating
from proxy.admission.review import GroupVersionKind, GroupVersionResource, Review
from proxy.admission.rules import matches
from proxy.kube.client import Object
from proxy.kube.selectors import selects

Labels = Mapping[str, str]
Equivalents = Callable[[GroupVersionResource], list[GroupVersionResource]]
"""The same objects in other versions, into which they can be converted here."""


@dataclass(frozen=True, slots=True)
class Seen:
    """As what a rule sees the request."""

    kind: GroupVersionKind
    resource: GroupVersionResource

    def request(self, review: Review) -> Object:
        """An AdmissionRequest, without uid and objects."""
        sub = review.subresource
        return {
            "kind": self.kind._asdict(),
            "resource": self.resource._asdict(),
            **({"subResource": sub} if sub else {}),
            "requestKind": review.kind._asdict(),
            "requestResource": review.resource._asdict(),
            **({"requestSubResource": sub} if sub else {}),
            **({"name": review.name} if review.name else {}),
            **({"namespace": review.namespace} if review.namespace else {}),
            "operation": review.operation,
            "userInfo": review.user,
            "dryRun": review.dry_run,
            "options": review.options,
        }

    def seen(self, obj: Object | None) -> Object | None:
        """An object in that version, which differs from the request's in its name alone."""
        kind = self.kind
        if obj is None or "apiVersion" not in obj or obj.get("kind") != kind.kind:
            return obj
        return {**obj, "apiVersion": f"{kind.group}/{kind.version}" if kind.group else kind.version}


@dataclass(frozen=True, slots=True)
class Invocation(Seen):
    """A webhook that is to be called."""

    webhook: Webhook


class Matcher:
    """For one request. ``labels_of_namespace()`` is asked at most once, and may raise StatusError."""

    def __init__(
        self, review: Review, labels_of_namespace: Callable[[], Awaitable[Labels]], equivalents: Equivalents,
        evaluating: Evaluating,
    ) -> None:  # fmt: skip
        self._review = review
        self._evaluating = evaluating
        self._labels_of_namespace = labels_of_namespace
        self._labels: Labels | None = None
        self._equivalents = equivalents

    async def invocation(self, webhook: Webhook) -> Invocation | None:
        """None if it is not called. Raises StatusError."""
        invocation = self._by_rules(webhook)
        if invocation is None or not selects_object(webhook.said.get("objectSelector"), self._review):
            return None
        if not await self.selects_namespace(webhook.said.get("namespaceSelector")):
            return None
        if webhook.said.get("matchConditions"):
            review = self._review
            objects = invocation.seen(review.object), invocation.seen(review.old_object)
            if not await hold(webhook, review, invocation.request(review), objects, self._evaluating):
                return None
        return invocation

    def _by_rules(self, webhook: Webhook) -> Invocation | None:
        seen = self.seen_by(webhook.said.get("rules") or (), webhook.said.get("matchPolicy"))
        return Invocation(seen.kind, seen.resource, webhook) if seen else None

    def seen_by(self, rules: Sequence[Mapping[str, Any]], policy: str | None) -> Seen | None:
        """As what the first rule that is about the request sees it; ``policy``: a ``matchPolicy``."""
        review = self._review
        if any(matches(rule, review) for rule in rules):
            return Seen(review.kind, review.resource)
        if policy != "Equivalent":
            return None
        others = self._equivalents(review.resource)
        for rule in rules:
            for other in others:
                if other != review.resource and matches(rule, review, other):
                    kind = review.kind
                    own = (kind.group, kind.version) == (review.resource.group, review.resource.version)
                    return Seen(GroupVersionKind(other.group, other.version, kind.kind) if own else kind, other)
        return None

    async def constrained(self, constraints: Mapping[str, Any]) -> Seen | None:
        """The same for MatchResources of a policy or binding (``policy/matching``). Raises StatusError."""
        if not selects_object(constraints.get("objectSelector"), self._review):
            return None
        if self.seen_by(constraints.get("excludeResourceRules") or (), constraints.get("matchPolicy")):
            return None
        rules = constraints.get("resourceRules")
        seen = self.seen_by(rules, constraints.get("matchPolicy")) if rules else self._as_it_is()
        return seen if seen and await self.selects_namespace(constraints.get("namespaceSelector")) else None

    def _as_it_is(self) -> Seen:
        return Seen(self._review.kind, self._review.resource)

    async def selects_namespace(self, selector: Object | None) -> bool:
        """Of what is in no namespace, and is none itself, no selector takes notice."""
        review = self._review
        if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
            return True
        if not review.namespace and review.resource.resource != "namespaces":
            return True
        if self._labels is None:
            own = review.resource.resource == "namespaces" and not review.subresource
            if own and review.operation in ("CREATE", "UPDATE"):
                self._labels = labels_of(review.object)
            else:
                self._labels = await self._labels_of_namespace()
        return selects(selector, self._labels)


def selects_object(selector: Object | None, review: Review) -> bool:
    """Whether the object, as it is or as it was, is selected."""
    if not selector or not (selector.get("matchLabels") or selector.get("matchExpressions")):
        return True
    objects = (review.object, review.old_object)
    return any(selects(selector, labels_of(obj)) for obj in objects if _has_metadata(obj))


def _has_metadata(obj: Object | None) -> bool:
    return obj is not None and isinstance(obj.get("metadata"), dict)


def labels_of(obj: Any) -> Labels:
    return ((obj or {}).get("metadata") or {}).get("labels") or {}
