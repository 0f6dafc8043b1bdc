"""The shard's questions: a write of a workspace that has something to say about it, before it is stored.

``/admission/mutate`` and ``/admission/validate`` of every worker. Whoever asks shows the ticket that a worker gave the
request (`proxy.admission.tickets`); anybody else learns nothing. What is asked comes in the shard's names and is put to
each `Plugin` in the workspace's; what they make of the object goes back in the shard's, as far as it differs, and
through the gate.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from proxy.admission.calls import Caller
from proxy.admission.configurations import MUTATING, VALIDATING, Configurations, Configured
from proxy.admission.converting import Detours
from proxy.admission.dispatch import WITHIN, mutate, validate
from proxy.admission.evaluator import Evaluating, Evaluator
from proxy.admission.jsonpatch import Operation, difference
from proxy.admission.matching import Labels, Matcher
from proxy.admission.review import GroupVersionResource, Review, answer, review_of
from proxy.admission.rounds import Rounds
from proxy.admission.tickets import EXTRA, Keys, NotGood, Ticket, WrongTime, workspace_of
from proxy.auth.identity import User
from proxy.discovery import Discovery, Scopes
from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError, not_found
from proxy.mapping.detours import Detour
from proxy.mapping.gate import gate
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.objects import Context, map_object
from proxy.mapping.paths import RequestInfo, quote
from proxy.mapping.scopes import CRDS
from proxy.mapping.token import LABEL
from proxy.server.messages import Header, Reply
from proxy.tenancy.index import Workspace, WorkspaceIndex

log = logging.getLogger(__name__)

MUTATE, VALIDATE = b"/admission/mutate", b"/admission/validate"
PATHS = frozenset({MUTATE, VALIDATE})
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
_TICKET = re.compile(rb'"%b":\["([A-Za-z0-9_=.-]{1,65536})"\]' % re.escape(EXTRA))
_VERBS = {"CREATE": "create", "UPDATE": "update", "DELETE": "delete"}
_JSON: Header = (b"content-type", b"application/json")


@dataclass(slots=True)
class Question:
    """What a plugin is asked."""

    workspace: Workspace
    review: Review
    matcher: Matcher
    configured: Configured
    evaluating: Evaluating
    rounds: Rounds = field(default_factory=Rounds)
    began: float = field(default_factory=time.monotonic)


class Plugin(Protocol):
    """Looks at a write, and may put another object into the review. Raises StatusError to refuse it."""

    async def __call__(self, question: Question) -> None: ...


class Webhooks:
    """The plugins MutatingAdmissionWebhook and ValidatingAdmissionWebhook."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def mutate(self, question: Question) -> None:
        hooks = question.configured.webhooks(MUTATING)
        if hooks:
            token, end = question.workspace.token, question.began + WITHIN
            await mutate(self._caller, token, hooks, question.review, question.matcher, question.rounds, end)

    async def validate(self, question: Question) -> None:
        hooks = question.configured.webhooks(VALIDATING)
        if hooks:
            await validate(self._caller, question.workspace.token, hooks, question.review, question.matcher)


class Callback:
    """Of one worker."""

    def __init__(
        self,
        *,
        index: WorkspaceIndex,
        discovery: Discovery,
        configurations: Configurations,
        keys: Keys,
        detours: Detours,
        shards: Mapping[str, Client],
        evaluator: Evaluator,
        mutating: Sequence[Plugin],
        validating: Sequence[Plugin],
    ) -> None:
        """Plugins in the order in which they are asked."""
        self._index = index
        self._discovery = discovery
        self._configurations = configurations
        self._keys = keys
        self._shards = Identity.ADMISSION.on_all(shards)
        self._evaluator = evaluator
        self._detours = detours
        self._plugins = {MUTATE: tuple(mutating), VALIDATE: tuple(validating)}

    async def reply(self, path: bytes, body: bytes) -> Reply:
        """Raises StatusError 403 for who shows no ticket."""
        workspace, ticket = await self._admit(body)
        try:
            uid, review = review_of(body, workspace.token, ticket.user)
            raw: Object = orjson.loads(body)["request"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StatusError(400, "not an AdmissionReview") from error
        if not _is_inside(raw, workspace.prefix):
            raise _no_ticket()
        before = review.object
        try:
            await self._ask(path, workspace, ticket.asking(), review)
            patch = await self._patch(workspace, raw, before, review) if review.object is not before else []
        except StatusError as error:
            refused = {"allowed": False, "status": error.status(), "warnings": review.warnings}
            return Reply(200, [_JSON], answer(uid, **refused))
        changed = {"patchType": "JSONPatch", "patch": base64.b64encode(orjson.dumps(patch)).decode()} if patch else {}
        return Reply(200, [_JSON], answer(uid, allowed=True, warnings=review.warnings, **changed))

    async def _admit(self, body: bytes) -> tuple[Workspace, Ticket]:
        """For whom the shard asks. What a ticket says is believed once its signature was looked at."""
        found = _TICKET.search(body)
        if found is None:
            raise _no_ticket()
        try:
            workspace = self._index.by_token(workspace_of(found[1]))
            if workspace is None:
                raise NotGood
            ticket = await self._keys.check(workspace.shard, found[1])
        except WrongTime as error:
            log.warning("a shard's question is refused: %s", error)
            raise StatusError(403, str(error)) from None
        except (NotGood, KeyError):
            raise _no_ticket() from None
        if ticket.token != workspace.token:
            raise _no_ticket()
        return workspace, ticket

    async def _ask(self, path: bytes, workspace: Workspace, user: User, review: Review) -> None:
        await self._configurations.wait_known(workspace.shard)
        configured = self._configurations.of(workspace.shard, workspace.token)
        if configured is None:
            return

        async def labels_of_namespace() -> Labels:
            try:
                found = await self._shards[workspace.shard].get(NAMESPACES, workspace.prefix + review.namespace)
            except StatusError as error:
                raise not_found("namespaces", review.namespace) if error.code == 404 else error from error
            labels = dict(found["metadata"].get("labels") or {})
            labels.pop(LABEL, None)
            return {key: value.replace(workspace.prefix, "") for key, value in labels.items()}

        def equivalents(resource: GroupVersionResource) -> list[GroupVersionResource]:
            """Versions of a CRD differ in their name alone; those of native kinds only the shard could convert."""
            return [
                GroupVersionResource(resource.group, version, resource.resource)
                for shape in self._discovery.view(workspace).shapes
                if (shape.group, shape.plural) == (resource.group, resource.resource)
                for version, _ in shape.versions
            ]

        evaluating = self._evaluator.of(workspace, user)
        matcher = Matcher(review, labels_of_namespace, equivalents, evaluating)
        question = Question(workspace, review, matcher, configured, evaluating)
        for plugin in self._plugins[path]:
            await plugin(question)
        if question.rounds.wanted:
            question.rounds.second = True
            for plugin in self._plugins[path]:
                await plugin(question)
        log.debug("%s: %s took %.3f s", workspace.path, path.decode(), time.monotonic() - question.began)

    async def _patch(self, workspace: Workspace, raw: Object, before: Object | None, review: Review) -> list[Operation]:
        """What the shard is to change. Both objects are mapped, and only what differs then is told, so that nothing
        changes which is written otherwise on the shard. Raises StatusError for what is not the workspace's to write."""
        verb = _VERBS.get(review.operation, "create")
        info = RequestInfo(
            verb, review.resource.group, review.resource.version, review.resource.resource, review.subresource,
            review.namespace, review.name, is_resource=True,
        )  # fmt: skip
        detour = self._detours.for_writing(workspace.shard) if (info.group, info.resource) == CRDS else None
        if detour is not None and not isinstance(detour, Detour):
            detour = await detour
        context = Context(info, workspace.prefix, Scopes(self._discovery, workspace), detour=detour)
        labelled = LABEL in ((raw["object"].get("metadata") or {}).get("labels") or {})
        mapped = [_mapped(obj, context, labelled) for obj in (before, review.object)]
        patch = difference(mapped[0], mapped[1])
        if patch:
            gate(*_as_request(raw), orjson.dumps(mapped[1]), workspace.token, b"application/json")
        return patch


def _mapped(obj: Object | None, context: Context, labelled: bool) -> Object:
    mapped = map_object(orjson.loads(orjson.dumps(obj or {})), context)
    if labelled:
        meta = mapped.setdefault("metadata", {})
        meta["labels"] = {**(meta.get("labels") or {}), LABEL: context.prefix[:-1]}
    return mapped


def _as_request(raw: Object) -> tuple[bytes, bytes]:
    """Method and target of the write that the shard asks about."""
    resource, namespace = raw["resource"], raw.get("namespace")
    group, of = resource.get("group"), resource["resource"]
    parts = ["apis", group, resource["version"]] if group else ["api", resource["version"]]
    if namespace and (group or of != "namespaces"):
        parts += ["namespaces", namespace]
    parts.append(of)
    sub = raw.get("subResource")
    creates = raw["operation"] == "CREATE" and not sub
    if not creates:
        parts += [raw["name"], *([sub] if sub else [])]
    path = "".join("/" + quote(part) for part in parts)
    return b"POST" if creates else b"PUT", path.encode()


def _is_inside(raw: Object, prefix: str) -> bool:
    """Whether the shard asks about something of the workspace."""
    namespace, name, group = raw.get("namespace"), raw.get("name") or "", raw["resource"].get("group") or ""
    if namespace:
        return str(namespace).startswith(prefix)
    if group not in NATIVE_GROUPS and group.startswith(prefix):
        return True
    meta = (raw.get("object") or {}).get("metadata") or {}
    named = name or meta.get("name") or meta.get("generateName") or ""
    return str(named).startswith(prefix) or str(named).partition(".")[2].startswith(prefix)


def _no_ticket() -> StatusError:
    return StatusError(403, "forbidden: only shards may ask that")
