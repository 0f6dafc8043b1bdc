"""The official Python client as the scenarios use it: what a call gave, in a form that can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Self

import orjson
from kubernetes import client, config

from tests.clients import same
from tests.clients.side import Side

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


def until(call: Callable[[], Any], timeout: float = 60) -> Any:
    """The first true answer; an object that is not there yet counts as not yet."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if answer := call():
                return answer
        except client.ApiException as raised:
            if raised.status != 404:
                raise
        time.sleep(0.05)
    raise AssertionError(f"still nothing after {timeout:g} s")


def error(raised: Any) -> dict[str, Any]:
    """All that an ApiException of any flavour tells."""
    body = raised.body
    try:
        body = same.obj(orjson.loads(body))
    except (orjson.JSONDecodeError, TypeError):
        body = same.text(str(body))
    return {"status": raised.status, "reason": raised.reason, "body": body}


def managers(found: Any) -> list[tuple[str, ...]]:
    """Who owns which fields of an object of the client."""
    return sorted(
        (entry.manager, entry.operation, entry.api_version, entry.subresource or "", str(entry.fields_v1))
        for entry in found.metadata.managed_fields
    )


class Calls:
    """``calls(function, ...)`` is what it answers, as plain data, or what its ApiException says."""

    def __init__(self, side: Side | None = None, api: Any = None) -> None:
        self.api: Any = api or (side and config.new_client_from_config(str(side.kubeconfig)))
        self.core = client.CoreV1Api(self.api)
        self.custom = client.CustomObjectsApi(self.api)

    @classmethod
    def with_token(cls, configuration: Any, token: str) -> Self:
        """Somebody else at the same server."""
        other = client.Configuration(host=configuration.host, api_key={"BearerToken": f"Bearer {token}"})
        other.ssl_ca_cert = configuration.ssl_ca_cert
        return cls(api=client.ApiClient(other))

    def plain(self, answer: Any) -> Any:
        return same.obj(self.api.sanitize_for_serialization(answer))

    def __call__(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return self.plain(function(*arguments, **options))
        except client.ApiException as raised:
            return error(raised)

    def namespace(self, name: str) -> Any:
        """A new one, with what controllers put into it."""
        made = self(self.core.create_namespace, {"metadata": {"name": name, "labels": {"team": name}}})
        until(lambda: self.core.read_namespaced_service_account("default", name))
        until(lambda: self.core.read_namespaced_config_map("kube-root-ca.crt", name))
        return made
