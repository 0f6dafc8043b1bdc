"""How objects of the physical cluster's API resources look, as structural schemas.

What a structural schema is: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
_GVK = "x-kubernetes-group-version-kind"
_KEPT = (
    "type", "format", "enum", "required", "nullable", "default", "minimum", "maximum", "pattern", "minLength",
    "maxLength", "minItems", "maxItems", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Definition:
    """How objects of a resource look."""

    schema: Object
    """Structural, OpenAPI v3."""
    columns: tuple[Object, ...] = ()
    """Further columns of ``kubectl get``, as in a CRD."""


class Definitions:
    """A cluster's definitions; documents of megabytes are read again only when the cluster says that they changed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._index: Object = {}
        self._known: dict[Resource, tuple[str, Definition]] = {}
        """With the address of the document, in which the server has put a hash of its content."""
        self._last: tuple[str, dict[str, Object]] = ("", {})
        """The document read last: what is asked for next may stand in it too."""

    async def refresh(self) -> None:
        """Look which documents there are. Needed once at least."""
        self._last = ("", {})
        self._index = (await self._client.request("GET", "/openapi/v3"))["paths"]

    async def of(self, resource: Resource, kind: str) -> Definition:
        """A CRD's own definition, else the published schema with its references resolved."""
        definition = await self._of_crd(resource) if resource.group else None
        if definition is not None:
            return definition
        path = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
        address = str((self._index.get(path) or {}).get("serverRelativeURL"))
        known = self._known.get(resource)
        if known is not None and known[0] == address:
            return known[1]
        if self._last[0] != address:
            document = await self._client.request("GET", f"/openapi/v3/{path}", timeout=60)
            self._last = address, document["components"]["schemas"]
        gvk = {"group": resource.group, "version": resource.version, "kind": kind}
        # Tenths of a second, in which a process with many clusters has others to serve.
        definition = Definition(await asyncio.to_thread(schema_of, self._last[1], gvk))
        self._known[resource] = address, definition
        return definition

    async def _of_crd(self, resource: Resource) -> Definition | None:
        try:
            crd = await self._client.get(CRDS, f"{resource.plural}.{resource.group}")
        except StatusError as error:
            if error.code not in (403, 404):
                raise
            return None
        for version in crd["spec"]["versions"]:
            if version["name"] == resource.version and version.get("schema"):
                columns = tuple(version.get("additionalPrinterColumns") or ())
                return Definition(version["schema"]["openAPIV3Schema"], columns)
        return None


def schema_of(schemas: dict[str, Object], gvk: Object) -> Object:
    """The structural schema of a kind among ``schemas`` (by name, referring to each other); anything if it is not
    among them."""
    for candidate in schemas.values():
        if gvk in (candidate.get(_GVK) or ()):
            whole = structural(candidate, schemas, Budget())
            # Metadata is the API server's own affair in a structural schema.
            whole.get("properties", {})["metadata"] = {"type": "object"}
            return whole
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


MOST = 100_000
"""Parts of a schema. Kubernetes' own largest have some thousands; types that hold others twice double at each step."""


class Budget:
    """What a schema may still grow by: a cluster says what it likes."""

    def __init__(self, left: int = MOST) -> None:
        self.left = left


def structural(schema: Object, schemas: dict[str, Object], budget: Budget, within: tuple[str, ...] = ()) -> Object:
    """``schema`` without references. A type that holds itself (``within`` names those on the way) is left open there:
    structural schemas are finite. So is what is beyond the ``budget``."""
    budget.left -= 1
    if budget.left < 0:
        return {"x-kubernetes-preserve-unknown-fields": True}
    if len(schema.get("allOf") or ()) == 1:
        schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
    reference = str(schema.get("$ref") or "").rpartition("/")[2]
    if reference:
        if reference in within:
            return {"x-kubernetes-preserve-unknown-fields": True}
        within = (*within, reference)
        schema = {**schemas.get(reference, {}), **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema.get("format") == "int-or-string" or ("oneOf" in schema and "type" not in schema):
        return {"x-kubernetes-int-or-string": True}
    kept: dict[str, Any] = {key: copy.copy(schema[key]) for key in _KEPT if key in schema}
    if schema.get("properties"):
        kept["type"] = "object"
        kept["properties"] = {
            name: structural(value, schemas, budget, within) for name, value in sorted(schema["properties"].items())
        }
    if isinstance(schema.get("additionalProperties"), dict):
        kept["type"] = "object"
        kept["additionalProperties"] = structural(schema["additionalProperties"], schemas, budget, within)
    if isinstance(schema.get("items"), dict):
        kept["type"] = "array"
        kept["items"] = structural(schema["items"], schemas, budget, within)
    if "type" not in kept and "x-kubernetes-int-or-string" not in kept:
        kept["x-kubernetes-preserve-unknown-fields"] = True
    return kept
