"""A cluster with webhooks, plain or a workspace: requests and their answers, in a form that can be compared."""

from __future__ import annotations

import difflib
import pprint
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.kube.client import Client, Resource
from tests.integration.eventually import eventually

Object = dict[str, Any]
REGISTRATIONS = "admissionregistration.k8s.io"
MUTATING = Resource(REGISTRATIONS, "v1", "mutatingwebhookconfigurations", namespaced=False)
VALIDATING = Resource(REGISTRATIONS, "v1", "validatingwebhookconfigurations", namespaced=False)
KINDS = {MUTATING: "MutatingWebhookConfiguration", VALIDATING: "ValidatingWebhookConfiguration"}
CONFIG_MAPS = Resource("", "v1", "configmaps")
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
GIVEN = ("uid", "creationTimestamp", "resourceVersion", "managedFields", "deletionTimestamp", "generation")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer."""

    code: int
    warnings: tuple[str, ...]
    body: Any


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    client: Client

    async def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Said:
        """Of the answer, what is not the server's to choose."""
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        headers = self.client._request_headers({"Content-Type": content_type} if data is not None else None)
        session = self.client._open()
        async with session.request(method, self.client._url(path, query), data=data, headers=headers) as response:
            text = await response.read()
            try:
                answer = orjson.loads(text)
            except orjson.JSONDecodeError:
                answer = text
            warnings = tuple(sorted(response.headers.getall("Warning", [])))
            return Said(response.status, warnings, comparable(answer))

    async def create(self, resource: Resource, obj: Object, namespace: str | None = None, **query: str) -> Said:
        return await self.send("POST", resource.path(namespace), obj, **query)

    async def install(self, resource: Resource, name: str, webhooks: list[Object]) -> None:
        """And wait until it works."""
        probe = f"{resource.plural[:3]}-{name}"
        first = webhooks[0]
        seen = {
            "name": f"{probe}.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {**first["clientConfig"], "url": _other(first["clientConfig"]["url"], "silent")},
            "rules": [rule("", "configmaps")],
            "objectSelector": {"matchLabels": {"probe": probe}},
        }
        await self.client.create(resource, configuration(resource, name, [*webhooks, seen]))
        await self.until(probe, acts=True)

    async def remove(self, resource: Resource, name: str) -> None:
        await self.client.delete(resource, name)
        await self.until(f"{resource.plural[:3]}-{name}", acts=False)

    async def until(self, probe: str, *, acts: bool) -> None:
        obj = {"metadata": {"name": probe, "labels": {"probe": probe}}}

        async def looks() -> bool:
            said = await self.create(CONFIG_MAPS, obj, "default", dryRun="All")
            return said.code in ((400, 403, 500) if acts else (201,))

        await eventually(looks)


def _other(url: str, path: str) -> str:
    return "/".join([*url.split("/")[:3], path])


def rule(group: str, *resources: str, operations: tuple[str, ...] = ("*",), **more: Any) -> Object:
    of = {"apiGroups": [group], "apiVersions": ["*"]}
    return of | {"operations": list(operations), "resources": list(resources)} | more


def configuration(resource: Resource, name: str, webhooks: list[Object]) -> Object:
    return {
        "apiVersion": resource.api_version, "kind": KINDS[resource], "metadata": {"name": name}, "webhooks": webhooks,
    }  # fmt: skip


def comparable(value: Any) -> Any:
    """Without what a server gives of itself."""
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if isinstance(value, str):
        return UID.sub("UID", value)
    if not isinstance(value, Mapping):
        return value
    kept = {key: comparable(item) for key, item in value.items() if key != "metadata"}
    meta = value.get("metadata")
    if isinstance(meta, Mapping):
        kept["metadata"] = {key: comparable(item) for key, item in meta.items() if key not in GIVEN}
    if isinstance(value.get("details"), Mapping):
        kept["details"] = {key: comparable(item) for key, item in value["details"].items() if key != "uid"}
    return kept


def same(got: Any, expected: Any, of: object = "") -> None:
    """They must be equal; what differs is told."""
    before, after = (pprint.pformat(value, width=120).splitlines() for value in (expected, got))
    lines = difflib.unified_diff(before, after, "cluster", "workspace", lineterm="")
    assert got == expected, f"{of}:\n" + "\n".join(lines)
