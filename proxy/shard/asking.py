"""How a shard asks the proxy about writes: two webhooks, for the requests that come with a ticket and for no others.

What workspaces have to say about their writes is not the shard's to know (`proxy.admission`). A request without a
ticket costs it the look at one expression.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

from proxy.admission.platform import MUTATING, TICKET, VALIDATING
from proxy.kube.client import Object
from proxy.shard.manifests import Manifest, make_manifest


@dataclass(frozen=True, slots=True)
class Asking:
    """Where a shard reaches proxies."""

    url: str
    """``https://HOST:PORT``."""
    ca: bytes | None = None
    """PEM; None for the system's authorities."""

    def manifests(self) -> list[Manifest]:
        return [
            make_manifest(self._configuration("MutatingWebhookConfiguration", MUTATING, "mutate")),
            make_manifest(self._configuration("ValidatingWebhookConfiguration", VALIDATING, "validate")),
        ]

    def _configuration(self, kind: str, name: str, path: str) -> Object:
        authority = {"caBundle": base64.b64encode(self.ca).decode()} if self.ca else {}
        expression = f"has(request.userInfo.extra) && '{TICKET}' in request.userInfo.extra"
        webhook = {
            "name": name,
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"{self.url}/admission/{path}", **authority},
            "failurePolicy": "Fail",
            "matchConditions": [{"name": "has-a-ticket", "expression": expression}],
            "matchPolicy": "Exact",
            "rules": [
                {
                    "apiGroups": ["*"],
                    "apiVersions": ["*"],
                    "operations": ["CREATE", "UPDATE", "DELETE"],
                    "resources": ["*/*"],
                }
            ],
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": 30,
        }
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "webhooks": [webhook],
        }
