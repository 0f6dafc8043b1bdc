"""How a request is sent that has been mapped and has passed the gate: as whom, in which steps, its answer through which
filters. Each further request that one of the steps makes passes the gate as well."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

from proxy.admission.registered import check_registration
from proxy.auth.identity import User, identity_headers
from proxy.auth.whoami import whoami_body
from proxy.mapping.described import COMMAND, is_described
from proxy.mapping.gate import gate
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS
from proxy.mapping.paths import RequestInfo
from proxy.mapping.registrations import is_registration
from proxy.mapping.request import READ_ONLY, MappedRequest
from proxy.mapping.scopes import CRDS
from proxy.mapping.watching import terms_of
from proxy.server.filters import About, filters, shaped
from proxy.server.instead import produce_instead
from proxy.server.leaving import produce_leaving
from proxy.server.listing import produce_deleted, produce_list
from proxy.server.messages import Decision, Forward, Produce, Request, Share
from proxy.server.pages import Known
from proxy.server.pool import ShardEndpoint
from proxy.server.registering import Registering
from proxy.server.settling import produce_settled
from proxy.tenancy.index import Workspace

TABLE = b"as=Table"
TRACED = frozenset({b"traceparent"})
WRITES = frozenset({"create", "update", "patch"})


@dataclass(frozen=True, slots=True)
class Sending:
    """One request."""

    request: Request
    info: RequestInfo
    mapped: MappedRequest
    user: User
    workspace: Workspace
    endpoint: ShardEndpoint
    privileged: bool
    """Whether the shard is not to look at the user's own rights."""
    left: bool
    """Only what is being deleted may be written."""
    asks: bool
    """The shard will ask before it stores it."""
    lists: Known

    def decision(self) -> Decision:
        """What is to be done. Raises StatusError for a page or an object outside of the workspace."""
        request, info, mapped, workspace = self.request, self.info, self.mapped, self.workspace
        endpoint, privileged = self.endpoint, self.privileged
        headers = mapped.headers
        headers += identity_headers(self.user, workspace.prefix, privileged=privileged, own=mapped.own_identity)
        if endpoint.authorization is not None:
            headers.append((b"authorization", endpoint.authorization))
        if request.record.trace is not None:  # of which the transport tells the shard
            headers[:] = [header for header in headers if header[0] not in TRACED]
        table = is_registration(info.group, info.resource) and TABLE in mapped.accept
        about = About(
            workspace.token, mapped.form, workspace.moves, own=not privileged, asked=self.asks,
            crds=(info.group, info.resource) == CRDS, table_of=info.resource if table else "",
            described=is_described(info, request.header(COMMAND)),
        )  # fmt: skip
        head_filter, body_filter = filters(about)
        method = b"GET" if request.method == b"HEAD" else request.method

        def forward(target: bytes) -> Forward:
            return Forward(
                workspace.shard, method, target, headers, mapped.body, body_filter, head_filter,
                streaming=info.verb == "watch", idempotent=info.verb in READ_ONLY,
            )  # fmt: skip

        if mapped.listing is not None:

            def page(target: bytes) -> Forward:
                gate(b"GET", target, b"", workspace.token)
                return Forward(workspace.shard, b"GET", target, headers, idempotent=True)

            if method == b"DELETE":
                return shaped(produce_deleted(mapped.listing, forward(mapped.target), page), about)
            return shaped(produce_list(mapped.listing, workspace.shard, page, self.lists), about)
        if self.left:
            look = mapped.target.partition(b"?")[0]
            if info.subresource:
                look = look.rpartition(b"/")[0]
            gate(b"GET", look, b"", workspace.token)
            return shaped(produce_leaving(look, forward(mapped.target), info, workspace.token), about)
        if info.verb in WRITES and is_registration(info.group, info.resource) and not info.subresource:
            return shaped(self._register(forward(mapped.target)), about)
        if info.verb in WRITES and (info.group not in NATIVE_GROUPS or info.group in KCP_GROUPS):
            return shaped(produce_settled(forward(mapped.target), workspace.token), about)
        if info.resource == "selfsubjectreviews" and info.verb == "create":
            review = produce_instead(
                forward(mapped.target), workspace.token, whoami_body(self.user, datetime.datetime.now(datetime.UTC))
            )
            return shaped(review, about)
        plain = forward(mapped.target)
        if info.verb == "watch" and request.method == b"GET" and privileged:
            plain.share = self._share(plain)
        return plain

    def _register(self, whole: Forward) -> Produce:
        """A write of an admission configuration, in the steps that it takes."""
        info, mapped, workspace = self.info, self.mapped, self.workspace
        of_body = (b"content-type", b"accept")
        given = {name: value for name, value in mapped.headers if name in of_body}
        headers = [header for header in whole.headers if header[0] not in of_body]

        def ask(method: bytes, target: bytes, body: bytes, content_type: bytes, accept: bytes) -> Forward:
            gate(method, target, body, workspace.token, content_type)
            sent = [*headers, (b"accept", accept), *([(b"content-type", content_type)] if content_type else [])]
            return Forward(workspace.shard, method, target, sent, body)

        return Registering(
            info, workspace.token, mapped.target, mapped.body, given[b"content-type"], given[b"accept"], ask,
            check_registration,
        ).produce()  # fmt: skip

    def _share(self, own: Forward) -> Share | None:
        """How others may have the same watch, if they may. Only what is the same for all of them goes on."""
        mapped, workspace = self.mapped, self.workspace
        form = mapped.accept
        terms = terms_of(mapped.target) if TABLE not in form else None  # of a Table's events one has the columns
        if terms is None:
            return None
        # Nothing here knows ``own``, which knows what is made here: a cycle outlives its watch.
        plain = replace(own, headers=[header for header in own.headers if header[0] not in TRACED])

        def ask(target: bytes) -> Forward:
            gate(b"GET", target, b"", workspace.token)
            return replace(plain, target=target)

        return Share((workspace.shard, workspace.token, workspace.moves, form, terms.subject), terms, ask)
