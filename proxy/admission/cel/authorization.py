"""``authorizer``: may the user who asks (or a service account) do something else?

Who decides is the embedder's: it gives the first `Authorizer` a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

from proxy.admission.cel.formats import label, subdomain
from proxy.admission.cel.values import CelError, Opaque, Type


class Question(NamedTuple):
    """Names as the workspace has them."""

    verb: str
    service_account: tuple[str, str] | None
    """Namespace and name; None: the user who asks."""
    path: str | None = None
    """None: a resource."""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class Verdict(NamedTuple):
    allowed: bool
    reason: str = ""
    error: str = ""


Ask = Callable[[Question], Verdict]


@dataclass(frozen=True, slots=True)
class Authorizer(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.authorization.Authorizer")
    ask: Ask
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PathCheck(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.authorization.PathCheck")
    authorizer: Authorizer
    path: str


@dataclass(frozen=True, slots=True)
class GroupCheck(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.authorization.GroupCheck")
    authorizer: Authorizer
    group: str


@dataclass(frozen=True, slots=True)
class ResourceCheck(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.authorization.ResourceCheck")
    authorizer: Authorizer
    group: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Decision(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.authorization.Decision")
    verdict: Verdict


def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise CelError("path must not be empty")
    return PathCheck(authorizer, path)


def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if subdomain(name):
        raise CelError("Invalid service account name")
    if label(namespace):
        raise CelError("Invalid service account namespace")
    return replace(authorizer, service_account=(namespace, name))


def _resource(check: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise CelError("resource must not be empty")
    return ResourceCheck(check.authorizer, check.group, resource)


def _check_path(check: PathCheck, verb: str) -> Decision:
    authorizer = check.authorizer
    return Decision(authorizer.ask(Question(verb, authorizer.service_account, check.path)))


def _check_resource(check: ResourceCheck, verb: str) -> Decision:
    authorizer = check.authorizer
    return Decision(
        authorizer.ask(
            Question(
                verb, authorizer.service_account, None, check.group, check.resource, check.subresource,
                check.namespace, check.name
            )
        )
    )  # fmt: skip


FUNCTIONS: dict[str, Any] = {
    "path": {(Authorizer, str): _path},
    "group": {(Authorizer, str): GroupCheck},
    "serviceAccount": {(Authorizer, str, str): _service_account},
    "resource": {(GroupCheck, str): _resource},
    "subresource": {(ResourceCheck, str): lambda check, name: replace(check, subresource=name)},
    "namespace": {(ResourceCheck, str): lambda check, name: replace(check, namespace=name)},
    "name": {(ResourceCheck, str): lambda check, name: replace(check, name=name)},
    "check": {(PathCheck, str): _check_path, (ResourceCheck, str): _check_resource},
    "allowed": {(Decision,): lambda decision: decision.verdict.allowed},
    "reason": {(Decision,): lambda decision: decision.verdict.reason},
    "errored": {(Decision,): lambda decision: bool(decision.verdict.error)},
    "error": {(Decision,): lambda decision: decision.verdict.error},
}
"""Without ``fieldSelector`` and ``labelSelector``: rights that depend on selectors are not known to RBAC."""
