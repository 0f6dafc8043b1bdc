"""Audit events: ``Event`` of ``audit.k8s.io/v1`` out of what is known of a request.

Names are the workspace's own, as its users write them; the workspace stands in an annotation. Shape as by
k8s.io/apiserver's pkg/audit; https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from proxy.audit.policy import API_VERSION, COMPLETE, LEVEL_NAMES, RECEIVED, Level, Verdict
from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.mapping import yaml11
from proxy.mapping.paths import RequestInfo
from proxy.mapping.protobuf import MAGIC, open_envelope
from proxy.mapping.wire import Field, WireError, decode
from proxy.server.messages import Request

WORKSPACE = "tenancy.kcp.dev/workspace"
DECISION = "authorization.k8s.io/decision"
LEFT_OUT = "audit.kcp.dev/left-out"
"""Says why a body that the level asks for is not there."""
LARGEST = 1 << 20
"""Bytes of a body that is recorded."""
SECRETS = frozenset({("", "secrets"), ("", "serviceaccounts/token"), ("authentication.k8s.io", "tokenreviews")})
"""Their bodies are never recorded, whatever the policy says."""


PROTOBUF = b"application/vnd.kubernetes.protobuf"
_OBJECT = {
    1: Field("metadata", {1: Field("name"), 3: Field("namespace"), 5: Field("uid"), 6: Field("resourceVersion")})
}


class Moment(NamedTuple):
    """A request at one of its stages."""

    request: Request
    info: RequestInfo
    stage: str
    verdict: Verdict
    received: float
    """When the request had arrived: seconds of the epoch."""
    at: float
    """When it reached the stage."""

    @property
    def size(self) -> int:
        """Bytes, roughly, that it keeps from being freed."""
        record = self.request.record
        return 2048 + len(self.request.body) + len(record.body) + sum(map(len, record.pieces or ()))


def render(moment: Moment) -> bytes:
    """The event as one line of JSON, without its line break."""
    event = event_of(moment)
    try:
        return orjson.dumps(event)
    except TypeError:  # numbers of YAML that are beyond 64 bits
        return json.dumps(event, separators=(",", ":")).encode()


def event_of(moment: Moment) -> dict[str, Any]:
    request, info, stage, verdict, received, at = moment
    record = request.record
    annotations = {}
    if record.workspace:
        annotations[WORKSPACE] = record.workspace
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": API_VERSION,
        "level": LEVEL_NAMES[verdict.level],
        "auditID": record.audit_id.decode("latin-1"),
        "stage": stage,
        "requestURI": request.target.decode("latin-1"),
        "verb": info.verb,
        "user": _user(record.user) if record.user is not None else {},
    }
    if record.acting_as is not None:
        event["impersonatedUser"] = _user(record.acting_as)
    if request.peer:
        event["sourceIPs"] = [request.peer]
    agent = request.header(b"user-agent")
    if agent:
        event["userAgent"] = agent.decode("utf-8", "replace")
    secret = (info.group, f"{info.resource}/{info.subresource}" if info.subresource else info.resource) in SECRETS
    sent = _sent(request) if info.is_resource and stage != RECEIVED else None
    if info.is_resource:
        event["objectRef"] = _reference(info, _metadata(request, sent) if stage != RECEIVED else {})
    if stage != RECEIVED:
        answer = _answer(request) if record.status >= 400 or verdict.level is Level.REQUEST_RESPONSE else None
        event["responseStatus"] = _status(record.status, answer)
        _add_bodies(event, moment, sent, answer, secret=secret, annotations=annotations)
        if record.allowed is not None:
            annotations[DECISION] = "allow" if record.allowed else "forbid"
    event["requestReceivedTimestamp"] = _timestamp(received)
    event["stageTimestamp"] = _timestamp(received if stage == RECEIVED else at)
    if annotations:
        event["annotations"] = annotations
    return event


def _add_bodies(
    event: dict[str, Any], moment: Moment, sent: Any, answer: Any, *, secret: bool, annotations: dict[str, str]
) -> None:
    level, keep = moment.verdict.level, moment.verdict.managed_fields
    request = moment.request
    if level < Level.REQUEST or not moment.info.is_resource:
        return
    if secret:
        annotations[LEFT_OUT] = "secret"
        return
    if request.body:
        if sent is not None:
            event["requestObject"] = sent if keep else _without_managed_fields(sent)
        else:
            annotations[LEFT_OUT] = "the request's body is too large, or protobuf"
    if level is Level.REQUEST_RESPONSE and moment.stage == COMPLETE and moment.info.verb != "watch":
        if answer is not None:
            event["responseObject"] = answer if keep else _without_managed_fields(answer)
        elif request.record.sent:
            annotations[LEFT_OUT] = "the answer is too large, or no JSON"


def _user(user: User) -> dict[str, Any]:
    shown: dict[str, Any] = {"username": user.name}
    if user.uid:
        shown["uid"] = user.uid
    if user.groups:
        shown["groups"] = list(user.groups)
    if user.extra:
        shown["extra"] = {key: list(values) for key, values in user.extra}
    return shown


def _reference(info: RequestInfo, metadata: dict[str, Any]) -> dict[str, str]:
    """What was asked about; what the path leaves open, the object that was sent may say."""
    found = {
        "resource": info.resource,
        "namespace": info.namespace,
        "name": info.name,
        "uid": "",
        "apiGroup": info.group,
        "apiVersion": info.version,
        "resourceVersion": "",
        "subresource": info.subresource,
    }
    if info.verb in ("create", "update"):
        for key in ("namespace", "name", "uid", "resourceVersion"):
            value = metadata.get(key)
            if not found[key] and isinstance(value, str):
                found[key] = value
    return {key: value for key, value in found.items() if value}


def _metadata(request: Request, sent: Any) -> dict[str, Any]:
    """Of the object that was sent. In protobuf, ObjectMeta is the first field of every object's message."""
    if sent is None and request.body.startswith(MAGIC):
        try:
            sent = decode(open_envelope(request.body)[1], _OBJECT)
        except WireError:
            return {}
    metadata = sent.get("metadata") if isinstance(sent, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _status(code: int, answer: Any) -> dict[str, Any]:
    if code == 0:  # the client left before there was an answer
        return {"metadata": {}, "message": "the connection was closed", "code": 499}
    shown: dict[str, Any] = {"metadata": {}}
    if isinstance(answer, dict) and answer.get("kind") == "Status" and answer.get("apiVersion") == "v1":
        for key in ("status", "message", "reason", "details"):
            if answer.get(key):
                shown[key] = answer[key]
    shown["code"] = code
    return shown


def _sent(request: Request) -> Any:
    """The request's body decoded, or None."""
    if not request.body or len(request.body) > LARGEST:
        return None
    media = request.header(b"content-type").partition(b";")[0].strip()
    if media == PROTOBUF:
        return None
    try:
        if media in (b"application/yaml", b"application/apply-patch+yaml"):
            return yaml11.load(request.body)
        return orjson.loads(request.body)
    except (ValueError, StatusError):
        return None


def _answer(request: Request) -> Any:
    """The answer's body decoded, or None."""
    record = request.record
    body = b"".join(record.pieces) if record.pieces else record.body
    if not body or len(body) > LARGEST:
        return None
    try:
        return orjson.loads(body)
    except ValueError:
        return None


def _without_managed_fields(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    shown = dict(value)
    if isinstance(shown.get("metadata"), dict):
        shown["metadata"] = {key: part for key, part in shown["metadata"].items() if key != "managedFields"}
    if isinstance(shown.get("items"), list):
        shown["items"] = [_without_managed_fields(item) for item in shown["items"]]
    return shown


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
