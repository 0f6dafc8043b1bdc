"""Answers made here: Status refusals and plain text, in the form a kube-apiserver gives them."""

from __future__ import annotations

import json

import orjson

from proxy.kube.errors import StatusError
from proxy.server.messages import Reply, Request

JSON = (b"content-type", b"application/json")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
BAD_GATEWAY = "BadGateway"
"""Reason of a 502, for which Kubernetes has none."""
NOSNIFF = (b"x-content-type-options", b"nosniff")


def refusal(error: StatusError, request: Request | None = None) -> Reply:
    """The Status of ``error``; indented for people (curl, browsers, ``?pretty``), compact for programs."""
    status = error.status()
    if request is not None and wants_pretty(request):
        body = json.dumps(status, indent=2, ensure_ascii=False).encode()
    else:
        body = orjson.dumps(status, option=orjson.OPT_APPEND_NEWLINE)
    headers = [JSON]
    seconds = error.details.get("retryAfterSeconds")
    if error.code in (429, 503):
        headers.append((b"retry-after", b"%d" % (seconds or 1)))
    if error.code == 401:
        headers.append((b"www-authenticate", b'Bearer realm="kcp"'))
    return Reply(error.code, headers, body)


def unavailable(shard: str, why: str) -> StatusError:
    """503 that clients try again: client-go waits as Retry-After says."""
    return StatusError(503, f"shard {shard} is not available: {why}", details={"retryAfterSeconds": 1})


def text(status: int, body: str) -> Reply:
    return Reply(status, [TEXT, NOSNIFF], body.encode())


def page_not_found() -> Reply:
    """What a kube-apiserver says for a path or group version that it does not have."""
    return text(404, "404 page not found\n")


def wants_pretty(request: Request) -> bool:
    """As k8s.io/apiserver's writers decide it: the parameter if given, else by the user agent of people's tools."""
    _, _, query = request.target.partition(b"?")
    for part in query.split(b"&"):
        key, separator, value = part.partition(b"=")
        if key == b"pretty":
            return not separator or value not in (b"false", b"0")
    return request.header(b"user-agent").startswith((b"curl", b"Wget", b"Mozilla/5.0"))
