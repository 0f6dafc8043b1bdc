"""The last look at a request before it leaves: is it confined to the workspace?

Privileged requests are safe on a shard only because of this. It shares no code with the mapping and looks at nothing
but the bytes that will be sent; what it does not recognise it refuses.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from functools import lru_cache

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.request import MappedRequest
from proxy.mapping.wire import WireError, fields

_LABEL = "0.kcp.dev/w"
_SHARED = rb"/apis/rbac\.authorization\.k8s\.io/v[a-z0-9]+/clusterroles/(?:cluster-admin|admin|edit|view)"
_ASKED = (
    rb"/apis/authorization\.k8s\.io/v[a-z0-9]+/(?:self)?subject(?:access|rules)reviews"
    rb"|/apis/authentication\.k8s\.io/v[a-z0-9]+/tokenreviews"
)


@lru_cache(maxsize=4096)
def _patterns(token: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    prefix = re.escape(token.encode()) + b"-"
    # A native group or one of the workspace's own: never one that carries another token.
    api = rb"/(?:api|apis/(?:" + prefix + rb")?(?!k[a-z2-7]{8}-)[a-z0-9][a-z0-9.-]*)/[a-z0-9]+"
    name = prefix + rb"[^/?#;%\\]*(?:%[0-9A-F]{2}[^/?#;%\\]*)*"
    below = rb"(?:/[A-Za-z0-9][^/?#;\\]*){0,3}"
    inside = re.compile(
        rb"(?:" + api + rb"/namespaces/" + name + below + rb"|" + api + rb"/[a-z0-9-]+/" + name + rb"(?:/[a-z0-9-]+)?"
        rb"|/apis/apiextensions\.k8s\.io/v[a-z0-9]+/customresourcedefinitions/[^/?#;%\\]+\."
        + prefix
        + rb"[^/?#;%\\]+(?:/status)?"
        rb")\Z"
    )
    collection = re.compile(api + rb"/[a-z0-9-]+\Z")
    return inside, collection


_shared = re.compile(_SHARED + rb"\Z")
_asked = re.compile(rb"(?:" + _ASKED + rb")\Z")


def gate(method: bytes, target: bytes, body: bytes, token: str) -> None:
    """Raises StatusError 403 unless the request can touch nothing outside of the workspace with ``token``."""
    path, _, query = target.partition(b"?")
    inside, collection = _patterns(token)
    if inside.match(path) and b"/../" not in path and b"/./" not in path:
        return
    if method in (b"GET", b"HEAD") and _shared.match(path):
        return
    if method == b"POST" and _asked.match(path):
        return
    if collection.match(path) and (_created_inside(body, token) if method == b"POST" else _selected(query, token)):
        return
    raise StatusError(403, "forbidden: the request is not confined to the workspace")


def gate_mapped(method: bytes, mapped: MappedRequest, token: str) -> None:
    """`gate` for a mapped request; a listing's pages have continue tokens of their own, which are checked as well."""
    if mapped.listing is not None:
        query = b"continue=" + mapped.listing.start.encode()
        gate(method, mapped.listing.path.encode() + b"?" + query, b"", token)
        return
    gate(method, mapped.target, mapped.body, token)


def _selected(query: bytes, token: str) -> bool:
    """Whether the label selector, or the place where the list begins, belongs to the workspace."""
    parameters = urllib.parse.parse_qs(query.decode("ascii", "replace"))
    selectors = parameters.get("labelSelector", [])
    mine = f"{_LABEL}={token}"
    if len(selectors) == 1 and (selectors[0] == mine or selectors[0].startswith(mine + ",")):
        return True
    starts = parameters.get("continue", [])
    if len(starts) != 1 or selectors:
        return False
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(starts[0] + "=" * (-len(starts[0]) % 4)))
        return str(decoded["start"]).startswith(f"{token}-")
    except (ValueError, KeyError, TypeError):
        return False


def _created_inside(body: bytes, token: str) -> bool:
    """Whether the new cluster-scoped object's name begins with the prefix (a CRD's: its group)."""
    prefix = f"{token}-"
    names: list[str] = []
    if body.startswith(b"k8s\x00"):
        try:
            raw = [content for number, _, _, content in fields(body[4:]) if number == 2]
            metas = [content for number, _, _, content in fields(raw[0]) if number == 1]
            names = [c.decode() for meta in metas for number, _, _, c in fields(meta) if number in (1, 2) and c]
        except (WireError, IndexError, UnicodeDecodeError):
            return False
    else:
        try:
            meta = orjson.loads(body).get("metadata") or {}
            names = [meta[key] for key in ("name", "generateName") if meta.get(key)]
        except (ValueError, AttributeError):
            return False
    # Without any name the shard itself refuses; with one it must be ours.
    return all(isinstance(name, str) and (name.startswith(prefix) or f".{prefix}" in name) for name in names)
