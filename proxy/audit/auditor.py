"""The audit log of one worker: watches requests, and hands on what the policy wants recorded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from proxy.audit.event import Moment
from proxy.audit.logfile import LogFile
from proxy.audit.policy import (
    COMPLETE,
    METADATA_OF_ALL,
    RECEIVED,
    STARTED,
    Level,
    Policy,
    load,
)
from proxy.audit.settings import AuditSettings
from proxy.audit.webhook import Webhook
from proxy.audit.writer import Writer
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo, parse
from proxy.server.messages import Request, identify


def make_auditor(settings: AuditSettings) -> Auditor | None:
    """None where events would go nowhere. Raises PolicyError, ConfigError."""
    policy = load(settings.policy_file) if settings.policy_file else METADATA_OF_ALL
    writers = []
    if settings.log_path:
        writers.append(Writer("the log", LogFile(settings.log_path, settings.rotation)))
    if settings.webhook_kubeconfig:
        writers.append(Writer("the webhook", Webhook(load_kubeconfig(settings.webhook_kubeconfig))))
    return Auditor(policy, writers) if writers else None


class Auditor:
    """An `Observer` (`proxy.server.messages`)."""

    def __init__(self, policy: Policy, writers: Sequence[Writer]) -> None:
        self.writers = writers
        self._policy = policy
        self._arrivals = policy.arrivals
        self._responses = policy.responses

    def close(self) -> None:
        for writer in self.writers:
            writer.close()

    def arrived(self, request: Request) -> None:
        identify(request)

    def decided(self, request: Request) -> None:
        if self._arrivals:
            self._note(request, RECEIVED)
        if self._responses:
            info = request.record.info
            if info is not None and info.is_resource and info.verb != "watch":
                verdict = self._policy.verdict(info, request.record.user, request.record.workspace)
                if verdict.level is Level.REQUEST_RESPONSE:
                    request.record.pieces = []

    def streaming(self, request: Request) -> None:
        self._note(request, STARTED)

    def finished(self, request: Request) -> None:
        self._note(request, COMPLETE)

    def malformed(self, status: int) -> None:
        pass

    def _note(self, request: Request, stage: str) -> None:
        record = request.record
        info = record.info or _info_of(request)
        verdict = self._policy.verdict(info, record.user, record.workspace)
        if verdict.level is Level.NONE or stage in verdict.omitted:
            return
        now = time.time()
        moment = Moment(request, info, stage, verdict, now - (time.perf_counter() - record.began), now)
        for writer in self.writers:
            writer.put(moment)


def _info_of(request: Request) -> RequestInfo:
    """Of a request that was refused before anybody asked: a token that is not good, a path that is none."""
    target = request.target
    if target.startswith(b"/clusters/"):
        target = b"/" + target[len(b"/clusters/") :].partition(b"/")[2]
    try:
        return parse(request.method, target)
    except StatusError:
        return RequestInfo(request.method.decode("latin-1").lower(), path=target.decode("latin-1"))
