"""Parameters of policies: objects of the workspace, read from its shard when a policy is evaluated.

Follows ``CollectParams`` of k8s.io/apiserver/pkg/admission/plugin/policy/generic, words included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import orjson

from proxy.discovery import Discovery, Scopes
from proxy.discovery.view import View
from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.selectors import selects
from proxy.mapping.gate import gate_mapped
from proxy.mapping.paths import parse, quote
from proxy.mapping.request import map_request
from proxy.mapping.stream import strip_bytes
from proxy.tenancy.index import Workspace

_CLUSTER_SCOPED = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"


class Misconfigured(ValueError):
    """What makes it impossible to say what a policy says; its failure policy decides."""


class ParamKind(NamedTuple):
    """What a policy's ``paramKind`` is called in paths."""

    path: str
    """``/api/v1`` or ``/apis/GROUP/VERSION``."""
    plural: str
    namespaced: bool
    said: Mapping[str, Any]

    def at(self, namespace: str) -> str:
        return f"{self.path}/namespaces/{quote(namespace)}/{self.plural}" if namespace else f"{self.path}/{self.plural}"


class Params:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, discovery: Discovery, shards: Mapping[str, Client]) -> None:
        self._discovery = discovery
        self._shards = Identity.PARAMETERS.on_all(shards)

    def kind(self, workspace: Workspace, said: Mapping[str, Any]) -> ParamKind:
        """Raises Misconfigured."""
        group, _, version = said["apiVersion"].rpartition("/")
        found = _resource(self._discovery.view(workspace), group, version, said["kind"])
        if found is None:
            known_as = f"{group}/{version}, Kind={said['kind']}"
            raise Misconfigured(f"failed to find resource referenced by paramKind: '{known_as}'")
        return ParamKind(f"/apis/{group}/{version}" if group else f"/api/{version}", *found, said)

    async def collect(
        self, workspace: Workspace, kind: ParamKind | None, ref: Mapping[str, Any] | None, namespace: str
    ) -> list[Object | None]:
        """With which parameters a policy is evaluated, one after the other. Raises Misconfigured, StatusError."""
        if kind is None or ref is None:
            return [None]
        where = ref.get("namespace") or ""
        if kind.namespaced:
            where = where or namespace
            if not where:
                raise Misconfigured(_CLUSTER_SCOPED)
        elif where:
            raise Misconfigured("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
        found: list[Object | None] = []
        if ref.get("name"):
            found = await self._get(workspace, kind, where, ref["name"])
        else:
            found += await self._select(workspace, kind, where, ref.get("selector") or {})
        if not found and ref.get("parameterNotFoundAction") == "Deny":
            raise Misconfigured("no params found for policy binding with `Deny` parameterNotFoundAction")
        return found

    async def _get(self, workspace: Workspace, kind: ParamKind, where: str, name: str) -> list[Object | None]:
        try:
            return [await self.read(workspace, f"{kind.at(where)}/{quote(name)}")]
        except StatusError as error:
            if error.code != 404:
                raise
            return []

    async def _select(
        self, workspace: Workspace, kind: ParamKind, where: str, selector: Mapping[str, Any]
    ) -> list[Object]:
        # A selector makes it one request, and the list small; what it says is looked at here.
        wanted = ",".join(f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items())
        wanted = wanted or ",".join(_first_key(selector))
        query = urlencode({"labelSelector": wanted or "!kcp.dev/none"})
        listed = await self.read(workspace, f"{kind.at(where)}?{query}")
        type_meta = {"apiVersion": kind.said["apiVersion"], "kind": kind.said["kind"]}
        items = [type_meta | item for item in listed.get("items") or ()]
        return [item for item in items if selects(selector, item["metadata"].get("labels") or {})]

    async def read(self, workspace: Workspace, target: str) -> Object:
        """What a GET of the workspace gives. Raises StatusError."""
        info = parse(b"GET", target.encode())
        mapped = map_request(
            info, workspace.token, method=b"GET", headers=[], body=b"", scopes=Scopes(self._discovery, workspace),
            moves=workspace.moves,
        )  # fmt: skip
        gate_mapped(b"GET", mapped, workspace.token)
        answer = await self._shards[workspace.shard].request("GET", mapped.target.decode())
        plain: Object = orjson.loads(strip_bytes(orjson.dumps(answer), workspace.token))
        return plain


def _first_key(selector: Mapping[str, Any]) -> list[str]:
    return [item["key"] for item in selector.get("matchExpressions") or () if item["operator"] in ("In", "Exists")][:1]


def _resource(view: View, group: str, version: str, kind: str) -> tuple[str, bool] | None:
    """Plural, and whether it is namespaced."""
    for shape in view.shapes:
        if (shape.group, shape.kind) == (group, kind) and any(name == version for name, _ in shape.versions):
            return shape.plural, not shape.cluster_scoped
    for shown in view.groups:
        for served in shown.versions if shown.name == group else ():
            for entry in served.resources if served.name == version else ():
                if (entry.get("responseKind") or {}).get("kind") == kind:
                    return str(entry["resource"]), entry.get("scope") == "Namespaced"
    return None
