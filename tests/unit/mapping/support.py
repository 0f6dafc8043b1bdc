"""What the tests of the mapping share."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.mapping.objects import Context
from proxy.mapping.paths import parse
from proxy.mapping.request import MappedRequest, map_request

TOKEN = "k3fq7zn2a"
P = f"{TOKEN}-"


class Scopes:
    """A workspace with one cluster-scoped kind of its own, ``Planet``, and one namespaced, ``Widget``."""

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return (group, resource) == ("example.com", "planets")

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return (group, kind) == ("example.com", "Planet")

    def kind_of(self, group: str, resource: str) -> str:
        return ""

    def shared_group(self, group: str, resource: str) -> str:
        return ""

    def shared_group_of_kind(self, group: str, kind: str) -> str:
        return ""


def context(method: str, path: str) -> Context:
    return Context(parse(method.encode(), path.encode()), P, Scopes(), complete=method != "PATCH")


def send(
    method: str, target: str, body: Any = None, content_type: str = "application/json", **headers: str
) -> MappedRequest:
    """The mapped request; ``body`` is an object, or bytes."""
    sent = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    if body is not None and content_type:
        sent.append((b"content-type", content_type.encode()))
    info = parse(method.encode(), target.encode())
    return map_request(info, TOKEN, method=method.encode(), headers=sent, body=raw, scopes=Scopes())


def sent_body(mapped: MappedRequest) -> Any:
    return orjson.loads(mapped.body)


def target(mapped: MappedRequest) -> str:
    return mapped.target.decode().removesuffix("pretty=false").rstrip("?&")
