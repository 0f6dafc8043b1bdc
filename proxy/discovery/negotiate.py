"""Which form of a document a client takes, from its Accept header."""

from __future__ import annotations

from functools import lru_cache

from proxy.discovery.view import AGGREGATED, AGGREGATED_BETA
from proxy.kube.errors import StatusError

JSON = "application/json"
OPENAPI_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_OPENAPI_V2_NAMES = (b"application/com.github.proto-openapi.spec.v2@v1.0+protobuf", OPENAPI_V2_PROTOBUF.encode())
_ANY = (b"*/*", b"application/*")


@lru_cache(maxsize=256)
def discovery_form(accept: bytes, aggregated: bool) -> str:
    """The first media type of ``accept`` that there is; ``aggregated``: whether the path has the aggregated forms.

    Raises StatusError 406 as a kube-apiserver does.
    """
    for part in accept.split(b",") if accept else [b"*/*"]:
        media, *parameters = (piece.strip() for piece in part.split(b";"))
        named = dict(parameter.partition(b"=")[::2] for parameter in parameters)
        if media.lower() not in (b"application/json", b"application/yaml", *_ANY):
            continue
        kind = named.get(b"as")
        if kind is None:
            return JSON
        if aggregated and kind == b"APIGroupDiscoveryList" and named.get(b"g") == b"apidiscovery.k8s.io":
            if named.get(b"v") == b"v2":
                return AGGREGATED
            if named.get(b"v") == b"v2beta1":
                return AGGREGATED_BETA
    raise not_acceptable(JSON, "application/yaml", "application/vnd.kubernetes.protobuf")


@lru_cache(maxsize=256)
def openapi_form(accept: bytes, protobuf: bool) -> str | None:
    """JSON, or the protobuf form of version 2 where there is one; None if it is neither that the client takes."""
    for part in accept.split(b",") if accept else [b"*/*"]:
        media = part.partition(b";")[0].strip().lower()
        if media == b"application/json" or media in _ANY:
            return JSON
        if protobuf and media in _OPENAPI_V2_NAMES:
            return OPENAPI_V2_PROTOBUF
    return None


def not_acceptable(*offered: str) -> StatusError:
    return StatusError(406, f"only the following media types are accepted: {', '.join(offered)}")
