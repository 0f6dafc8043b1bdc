"""What becomes of a request: address → who → may enter → is it one too many → what → may do → mapped → gate → shard.

The order is the security argument: nothing is said about a workspace before entry is allowed, nothing is forwarded
before the mapping has understood it, and the gate looks once more at what is about to leave.

`WorkspaceGateway.decide` runs to its end without touching the event loop when all that it needs is cached; only a miss
(a token not seen before, rules not fetched yet) makes it return an awaitable.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

from proxy.admission.asking import Tickets
from proxy.admission.callback import PATHS, Callback
from proxy.admission.conversions import Conversions
from proxy.admission.converting import Detours
from proxy.admission.tickets import EXTRA as TICKET
from proxy.auth.authenticator import Authenticator, Unauthorized, namespace_of_token
from proxy.auth.authorizer import Access, Authorizer
from proxy.auth.default_roles import DefaultRoles
from proxy.auth.forbidden import forbidden, no_entry
from proxy.auth.identity import EXTRA_HEADER, User
from proxy.auth.impersonation import Impersonation, access_of, impersonation, refused
from proxy.discovery import Classes, Discovery, Scopes
from proxy.discovery.classes import EXTRA
from proxy.kube.errors import StatusError
from proxy.mapping.detours import EXTRA as DETOUR
from proxy.mapping.detours import PATH as CONVERT
from proxy.mapping.detours import Detour
from proxy.mapping.gate import gate_mapped
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.paths import RequestInfo, parse
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.request import READ_ONLY, Attributes, attributes_of, map_request
from proxy.mapping.scopes import CRDS
from proxy.mapping.token import token_of
from proxy.server.address import split_workspace
from proxy.server.admission import Admission
from proxy.server.health import Health, health_of_workspace
from proxy.server.leaving import no_writes
from proxy.server.messages import (
    ADDRESS,
    DISCOVERY,
    DOCUMENT,
    ENTRY,
    GATE,
    IDENTITY,
    IMPERSONATION,
    LIMITS,
    MAPPING,
    PERMISSION,
    SHARD,
    Decision,
    Forward,
    Reply,
    Request,
)
from proxy.server.objects import ObjectLimit, may_make
from proxy.server.owned import make_owner_roles
from proxy.server.pages import Known
from proxy.server.pool import ShardEndpoint
from proxy.server.quota import check_crds, makes_crd
from proxy.server.reach import STREAMS, Reach, methods, reached
from proxy.server.replies import moving, no_such_method, refusal, unavailable
from proxy.server.sending import WRITES, Sending
from proxy.server.standing import Standing
from proxy.tenancy.index import DELETING, DEPARTED, Workspace, WorkspaceIndex
from proxy.tenancy.opening import Opener
from proxy.tenancy.owner_roles import OwnerRoles

log = logging.getLogger(__name__)

ROOT = "root"
ARRIVES_WITHIN = 2.0
"""Seconds that a request waits for a workspace that is between two shards; mostly it takes a few milliseconds."""
APPEARS_WITHIN = 0.5
"""Seconds that a request for an unknown workspace waits: it may have been made a moment ago, through another worker."""

Flow = Generator[Awaitable[Any], Any, Decision]


class WorkspaceGateway:
    """The gateway of one worker. ``unready()`` says in a line what keeps the worker from serving, or gives None."""

    def __init__(
        self,
        *,
        index: WorkspaceIndex,
        authenticator: Authenticator,
        authorizer: Authorizer,
        discovery: Discovery,
        roles: DefaultRoles,
        opener: Opener,
        owner_roles: OwnerRoles,
        classes: Classes,
        endpoints: Mapping[str, ShardEndpoint],
        reach: Reach,
        admission: Admission,
        objects: ObjectLimit,
        tickets: Tickets,
        callback: Callback,
        detours: Detours,
        conversions: Conversions,
        unready: Callable[[], str | None],
    ) -> None:
        self._index = index
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._discovery = discovery
        self._roles = roles
        self._opener = opener
        self._owner_roles = owner_roles
        self._classes = classes
        self._endpoints = endpoints
        self._reach = reach
        self._admission = admission
        self._objects = objects
        self._tickets = tickets
        self._callback = callback
        self._detours = detours
        self._conversions = conversions
        self._lists = Known()
        self._health = Health(index, unready)
        self._standing = Standing(index, authenticator, authorizer, discovery)

    def decide(self, request: Request) -> Decision | Awaitable[Decision]:
        """As `messages.Gateway`."""
        if request.key:
            try:
                standing = self._standing.find(request)
            except StatusError as error:
                request.record.step = GATE
                return refusal(error, request)
            if standing is not None:
                try:
                    wait = self._admission.enter(request)
                except StatusError as error:
                    request.record.step = LIMITS
                    return refusal(error, request)
                return standing if wait is None else self._after(wait, request)
        flow = self._flow(request)
        try:
            waiting = next(flow)
        except StopIteration as stop:
            if request.key and isinstance(stop.value, Forward):
                self._standing.keep(request, stop.value)
            return stop.value  # type: ignore[no-any-return]
        except StatusError as error:
            return refusal(error, request)
        return self._later(flow, waiting, request)

    async def _after(self, wait: Awaitable[None], request: Request) -> Decision:
        """What stood before a wait is decided anew after it."""
        try:
            await wait
        except StatusError as error:
            request.record.step = LIMITS
            return refusal(error, request)
        decided = self.decide(request)
        return decided if isinstance(decided, Decision) else await decided

    async def _later(self, flow: Flow, waiting: Awaitable[Any], request: Request) -> Decision:
        """Go on with a flow that had to wait."""
        try:
            while True:
                try:
                    value = await waiting
                except StatusError as error:
                    waiting = flow.throw(error)
                else:
                    waiting = flow.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        except StatusError as error:
            return refusal(error, request)
        finally:
            flow.close()

    def _flow(self, request: Request, waited: int = 0) -> Flow:
        """The whole way of a request; yields what must be awaited. ``waited``: how often its
        workspace was counted for it."""
        record = request.record
        path, target = split_workspace(request.target)
        if path is None:
            health = self._health.reply(target)
            if health is not None:
                return health
            asks = target.partition(b"?")[0]  # how long there is for an answer stands behind it
            if asks in PATHS and request.method == b"POST":
                answered: Reply = yield self._callback.reply(asks, request.body)
                return answered
            if target.startswith(CONVERT) and request.method == b"POST":
                converted: Reply = yield self._conversions.reply(target, request.body)
                return converted
            path = self._own_workspace(request) or ROOT
        workspace = self._index.get(path)
        record.step = IDENTITY
        user = self._authenticator.authenticate(request, workspace)
        if not isinstance(user, User):
            record.asked += (IDENTITY,)
            user = yield user
        record.user = user
        if user.anonymous and not self._authenticator.admits_anonymous(target):
            raise Unauthorized
        if workspace is None and not user.anonymous:
            workspace = yield self._index.wait_for(path, APPEARS_WITHIN)
        record.step = ADDRESS
        record.info = info = parse(request.method, target)
        record.step = ENTRY
        if workspace is None:
            self._require_known(user, path)
            if user.masters:
                raise StatusError(404, f'workspace "{path}" not found', details={"name": path, "kind": "workspaces"})
            record.allowed = False
            raise no_entry(user, info, path)
        record.workspace, record.shard = workspace.path, workspace.shard
        access = self._authorizer.enter(user, workspace)
        if not isinstance(access, Access):
            record.asked += (ENTRY,)
            access = yield access
        if access is Access.NONE:
            if workspace.parent:
                self._require_known(user, workspace.parent)  # it says who may enter
            record.allowed = False
            raise no_entry(user, info, path)
        if not self._index.trusted(workspace.shard):
            raise unavailable(workspace.shard, "it is not known which workspaces it has now")
        if workspace.stage == DEPARTED:
            workspace = yield self._index.wait_while(workspace, ARRIVES_WITHIN)
            if workspace is None or workspace.stage == DEPARTED:
                raise moving(path)
            record.shard = workspace.shard
        record.step = LIMITS
        wait = self._admission.enter(request)
        if wait is not None:
            yield wait
            record.asked = ()
            return (yield from self._flow(request, waited))  # nothing that was looked at before need be so now
        wanted = impersonation(request.headers, workspace)
        if wanted is not None:
            record.step = IMPERSONATION
            user, access = yield from self._impersonate(wanted, user, access, workspace)
            record.acting_as = user
        if not info.is_resource:
            return (yield from self._non_resource(request, info, target, user, access, workspace))
        return (yield from self._resource(request, info, user, access, workspace, waited))

    def _require_known(self, user: User, path: str) -> None:
        """Raises StatusError 503 for a workspace that a shard may have which this worker has not heard from yet; to
        whom nobody knows the same is said of every one."""
        if not user.anonymous and not self._index.synced and self._index.get(path) is None:
            raise unavailable(self._index.missing_shards()[0], "its workspaces are not known yet")

    def _require_discovery(self, workspace: Workspace) -> None:
        """Nothing is said to be missing by a worker that has not heard from the shard yet. Raises StatusError 503."""
        if workspace.shard in self._discovery.unsynced():
            raise unavailable(workspace.shard, "its API resources are not known yet")

    def _own_workspace(self, request: Request) -> str | None:
        """Without ``/clusters/…`` a service account is at home: in-cluster configuration knows host and port alone.

        The token only says where to look; whether it is good is asked there.
        """
        namespace = namespace_of_token(request.header(b"authorization"))
        token = token_of(namespace) if namespace else None
        workspace = self._index.by_token(token) if token else None
        return workspace.path if workspace else None

    def _impersonate(
        self, wanted: Impersonation, user: User, access: Access, workspace: Workspace
    ) -> Generator[Awaitable[Any], Any, tuple[User, Access]]:
        for attributes in wanted.needed:
            allowed = self._authorizer.allowed(user, access, workspace, attributes)
            if not isinstance(allowed, bool):
                allowed = yield allowed
            if not allowed:
                raise refused(user, attributes, workspace)
        return wanted.user, access_of(wanted.user, access)

    def _non_resource(
        self, request: Request, info: RequestInfo, target: bytes, user: User, access: Access, workspace: Workspace
    ) -> Flow:
        request.record.step = DOCUMENT
        health = health_of_workspace(info)
        if health is not None:
            return health
        self._require_discovery(workspace)
        query = target.partition(b"?")[2].decode("latin-1")
        # Everybody who may enter may read what there is, and no more than read.
        reads = request.method == b"GET"
        reply = self._discovery.reply(workspace, request, info.path, query) if reads else None
        if reply is not None:
            return (yield from self._document(request, reply))
        request.record.step = PERMISSION
        attributes = Attributes(info.verb, "", "", "", "", "", False, info.path)
        allowed = self._authorizer.allowed(user, access, workspace, attributes)
        if not isinstance(allowed, bool):
            request.record.asked += (PERMISSION,)
            allowed = yield allowed
        if not allowed:
            request.record.allowed = False
            raise forbidden(user, info)
        reply = None if reads else self._discovery.reply(workspace, request, info.path, query)
        if reply is not None:
            return (yield from self._document(request, reply))
        request.record.allowed = True
        return self._discovery.nothing_at(workspace, request, info.path)

    def _document(self, request: Request, reply: Reply | Awaitable[Reply]) -> Flow:
        request.record.step = DOCUMENT
        request.record.allowed = True
        if isinstance(reply, Reply):
            return reply
        request.record.asked += (DOCUMENT,)
        made: Reply = yield reply
        return made

    def _resource(
        self, request: Request, info: RequestInfo, user: User, access: Access, workspace: Workspace, waited: int
    ) -> Flow:
        request.record.step = DISCOVERY
        discovery = self._discovery
        group, version, resource = info.group, info.version, info.resource
        if not info.beyond and not discovery.serves(workspace, group, version, resource):
            self._require_discovery(workspace)
            request.record.asked += (DISCOVERY,)
            yield discovery.refresh(workspace, group, version, resource)
        request.record.step = PERMISSION
        scopes = Scopes(discovery, workspace)
        attributes = attributes_of(info, workspace.prefix, scopes)
        allowed = self._authorizer.allowed(user, access, workspace, attributes)
        if not isinstance(allowed, bool):
            request.record.asked += (PERMISSION,)
            allowed = yield allowed
        if not allowed:
            request.record.allowed = False
            raise forbidden(user, info)
        request.record.allowed = True
        if info.beyond or not discovery.serves(workspace, group, version, resource):
            return discovery.nothing_at(workspace, request, info.path)
        if not info.verb:
            if group not in NATIVE_GROUPS and scopes.resource_is_cluster_scoped(group, resource) is bool(
                info.namespace
            ):
                return discovery.nothing_at(workspace, request, info.path)
            raise no_such_method(info)
        if workspace.phase == DELETING and info.verb in WRITES:
            raise forbidden(user, info, f'"{workspace.path}" is being deleted')
        if not workspace.takes_writes and changes(info):
            raise moving(workspace.path)
        opening = self._opener.needed(workspace)
        if opening is not None:
            yield from asked_by_kcp(workspace, opening)
        if info.subresource and reached(info):
            return (yield from self._reach_out(request, info, user, access, workspace, attributes))
        left = info.verb in WRITES and discovery.is_left(workspace, group, version, resource)
        if left and (info.verb == "create" or not info.name):
            raise no_writes(info)
        if makes_crd(request, info) and not user.masters:
            limit = self._admission.limits_of(workspace.path).crds
            check_crds(info, workspace.path, discovery.view(workspace).shapes, limit)
        detour = self._detours.for_writing(workspace.shard) if writes_crd(info) else None
        if detour is not None and not isinstance(detour, Detour):
            detour = yield from asked_by_kcp(workspace, detour)
        request.record.step = MAPPING
        mapped = map_request(
            info, workspace.token, method=request.method, headers=request.headers, body=request.body, scopes=scopes,
            attributes=attributes, moves=workspace.moves, detour=detour,
        )  # fmt: skip
        if workspace.phase != DELETING and workspace.takes_writes:
            missing = self._roles.missing(workspace) if group == RBAC else None
            if missing is not None:
                yield missing
            yield from make_owner_roles(self._owner_roles, info, request.body, user, access, workspace)
        if detour is not None:
            mapped.headers.append((EXTRA_HEADER + DETOUR.encode(), detour.bundle.encode()))
        told = self._classes.told(workspace, info, mapped.body) if info.verb in WRITES else None
        if told is not None:
            values = told if isinstance(told, tuple) else (yield told)
            mapped.headers += [(EXTRA_HEADER + EXTRA, value) for value in values]
        asks = self._tickets.needed(workspace, info)
        if not isinstance(asks, bool):
            asks = yield asks
        if asks:
            made = self._tickets.make(workspace, user)
            ticket = made if isinstance(made, bytes) else (yield from asked_by_kcp(workspace, made))
            mapped.headers.append((EXTRA_HEADER + TICKET, ticket))
        request.record.step = GATE
        gate_mapped(request.method, mapped, workspace.token)
        now = self._index.by_token(workspace.token)
        if now is not workspace and (
            now is None or now.shard != workspace.shard or now.stage == DEPARTED
            or (changes(info) and not now.takes_writes)
        ):  # fmt: skip
            raise moving(workspace.path)  # while something was waited for
        if may_make(request, info):
            request.record.step = LIMITS
            room = self._objects.enter(request, info, workspace, user, mapped.target, waited=waited)
            if room is not None:
                yield room
                self._admission.leave(request)
                request.record.asked = ()
                return (yield from self._flow(request, waited + 1))
        request.record.step = SHARD
        privileged = access is Access.ADMIN or not mapped.own_identity
        endpoint = self._endpoints[workspace.shard]
        lists = self._lists
        return Sending(request, info, mapped, user, workspace, endpoint, privileged, left, asks, lists).decision()

    def _reach_out(
        self,
        request: Request,
        info: RequestInfo,
        user: User,
        access: Access,
        workspace: Workspace,
        attributes: Attributes,
    ) -> Flow:
        """To a pod where it runs, or a tunnel to there."""
        if info.group:
            return self._reach.accept(request, info, workspace)
        methods(info)
        if info.subresource in STREAMS and info.verb != "create":
            allowed = self._authorizer.allowed(user, access, workspace, attributes._replace(verb="create"))
            if not isinstance(allowed, bool):
                request.record.asked += (PERMISSION,)
                allowed = yield allowed
            if not allowed:
                request.record.allowed = False
                raise forbidden(user, replace(info, verb="create"))
        request.record.step = SHARD
        cluster = yield self._reach.cluster_of(workspace, info)
        return self._reach.forward(request, info, workspace, cluster)


def asked_by_kcp(workspace: Workspace, question: Awaitable[Any]) -> Generator[Awaitable[Any], Any, Any]:
    """What a shard says to kcp itself is not for clients: it has names in it as the shard knows them, and its address.
    Raises StatusError 503, or the shard's own 500 (its etcd is full) where nothing of that is in it."""
    try:
        return (yield question)
    except StatusError as error:
        if error.code == 500 and workspace.token not in error.message:
            raise
        log.warning("shard %s, for workspace %s: %s", workspace.shard, workspace.path, error)
        raise unavailable(workspace.shard, "kcp could not do there what the request needs") from error


def writes_crd(info: RequestInfo) -> bool:
    return (info.group, info.resource, info.subresource) == (*CRDS, "") and info.verb in WRITES


def changes(info: RequestInfo) -> bool:
    """Whether it changes what a workspace holds; reviews do not."""
    return info.verb not in READ_ONLY and not info.resource.endswith("reviews") and not reached(info)
