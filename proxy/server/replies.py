"""Answers made here: Status refusals and plain text, in the form a kube-apiserver gives them."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qsl

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.forms import Form, wanted
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.paths import RequestInfo, not_allowed
from proxy.mapping.reshape import indented, yaml_of
from proxy.server.messages import Header, Reply, Request

JSON = (b"content-type", b"application/json")
YAML = (b"content-type", b"application/yaml")
TEXT = (b"content-type", b"text/plain; charset=utf-8")
BAD_GATEWAY = "BadGateway"
"""Reason of a 502, for which Kubernetes has none."""
NOSNIFF = (b"x-content-type-options", b"nosniff")


def refusal(error: StatusError, request: Request | None = None) -> Reply:
    """The Status of ``error``, in the form that the request asks for."""
    body = orjson.dumps(error.status(), option=orjson.OPT_APPEND_NEWLINE)
    form = Form.COMPACT if request is None else form_of(request)
    if form is Form.COMPACT and request is not None and not _plainly_written(request.header(b"accept")):
        form = Form.INDENTED
    headers, body = in_form(body, form)
    if error.code == 403:
        headers.append(NOSNIFF)
    seconds = error.details.get("retryAfterSeconds")
    if error.code in (429, 503):
        headers.append((b"retry-after", b"%d" % (seconds or 1)))
    if error.code == 401:
        headers.append((b"www-authenticate", b'Bearer realm="kcp"'))
    return Reply(error.code, headers, body)


@lru_cache(maxsize=256)
def _plainly_written(accept: bytes) -> bool:
    """Whether a client accepts a Status; else it is written nevertheless, and indented (``WriteRawJSON``)."""
    clauses = accept.split(b",") if accept else [JSON[1]]
    return any(not re.search(rb";\s*as\s*=", clause) for clause in clauses)


def no_such_method(info: RequestInfo) -> StatusError:
    """405 as resources say it: native ones by go-restful, custom ones by apiextensions-apiserver."""
    if info.group in NATIVE_GROUPS:
        return not_allowed()
    message = f'{info.verb} is not supported on resources of kind "{info.resource}.{info.group}"'
    return StatusError(405, message, details={"group": info.group, "kind": info.resource})


def moving(path: str) -> StatusError:
    """429 that clients try again: client-go waits as Retry-After says."""
    return StatusError(
        429,
        f'workspace "{path}" is moving to another shard: try again in a moment',
        details={"retryAfterSeconds": 1},
    )


def unavailable(shard: str, why: str) -> StatusError:
    """503 that clients try again: client-go waits as Retry-After says."""
    return StatusError(503, f"shard {shard} is not available: {why}", details={"retryAfterSeconds": 1})


def text(status: int, body: str) -> Reply:
    return Reply(status, [TEXT, NOSNIFF], body.encode())


def page_not_found() -> Reply:
    """What a kube-apiserver says for a path or group version that it does not have."""
    return text(404, "404 page not found\n")


def form_of(request: Request) -> Form:
    """In which form the client wants an answer that is made here."""
    pretty = ""
    if b"pretty" in request.target:
        query = request.target.partition(b"?")[2].decode("latin-1")
        pretty = dict(reversed(parse_qsl(query, keep_blank_values=True))).get("pretty", "")
    return wanted(request.header(b"accept"), pretty, request.header(b"user-agent")).form


def in_form(body: bytes, form: Form) -> tuple[list[Header], bytes]:
    """Content type and body of an answer whose compact JSON is ``body``."""
    if form is Form.YAML:
        in_order = orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)  # as sigs.k8s.io/yaml has them
        return [YAML], yaml_of(in_order)
    return [JSON], indented(body) if form is Form.INDENTED else body
