"""A line for each request, where that is wanted (``--log-requests``): who asked what, with which result, how long."""

from __future__ import annotations

import logging
import time
from typing import Any

from proxy.server.messages import Request, identify

log = logging.getLogger("requests")


class RequestLog:
    """An `Observer` (`proxy.server.messages`)."""

    def __init__(self) -> None:
        log.setLevel(logging.INFO)

    def arrived(self, request: Request) -> None:
        identify(request)

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        self._line("watch", request)

    def finished(self, request: Request) -> None:
        self._line("request", request)

    def malformed(self, status: int) -> None:
        log.info("malformed", extra={"fields": {"code": status}})

    def _line(self, message: str, request: Request) -> None:
        log.info(message, extra={"fields": fields_of(request)})


def fields_of(request: Request) -> dict[str, Any]:
    """What is said of a request that has ended; a watch also has a line when it begins."""
    record = request.record
    info, user = record.info, record.user
    fields: dict[str, Any] = {"auditID": record.audit_id.decode("latin-1")}
    if user is not None:
        fields["user"] = user.name
    if record.acting_as is not None:
        fields["as"] = record.acting_as.name
    if record.workspace:
        fields["workspace"] = record.workspace
    fields["verb"] = info.verb if info is not None else request.method.decode("latin-1").lower()
    if info is not None and info.is_resource:
        fields["resource"] = f"{info.resource}.{info.group}" if info.group else info.resource
        for key, value in (("subresource", info.subresource), ("namespace", info.namespace), ("name", info.name)):
            if value:
                fields[key] = value
    else:
        fields["path"] = request.target.partition(b"?")[0].decode("latin-1")
    fields["code"] = record.status
    if record.status >= 400 and not record.shard_seconds:
        fields["refused"] = record.step
    if record.cut:
        fields["cut"] = True
    fields["seconds"] = round(time.perf_counter() - record.began, 6)
    fields["shardSeconds"] = round(record.shard_seconds, 6)
    fields["received"], fields["sent"] = len(request.body), record.sent
    fields["peer"] = request.peer
    agent = request.header(b"user-agent")
    if agent:
        fields["agent"] = agent.decode("utf-8", "replace")
    return fields
