"""What a shard knows of the proxy that it asks: where that is, and the key by which proxy and shard know each other."""

from __future__ import annotations

import base64
import secrets

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.detours import ASKING, Detour

SECRETS = Resource("", "v1", "secrets")
WEBHOOKS = Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", namespaced=False)
NAMESPACE, NAME, KEY = "kube-system", "kcp-admission", "key"
"""Where a shard keeps the key, which is the same to all proxies before it."""


async def read_key(client: Client) -> bytes:
    """Made where there is none. Raises StatusError."""
    made = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {KEY: base64.b64encode(secrets.token_bytes(32)).decode()},
    }
    found = await client.find(SECRETS, NAME, NAMESPACE)
    if found is None:
        try:
            found = await client.create(SECRETS, made)
        except StatusError as error:
            if error.code != 409:
                raise
            found = await client.get(SECRETS, NAME, NAMESPACE)
    return base64.b64decode(found["data"][KEY])


async def read_detour(client: Client) -> Detour | None:
    """None where the shard does not know where the proxy is. Raises StatusError."""
    asking = await client.find(WEBHOOKS, ASKING)
    if asking is None:
        return None
    config = asking["webhooks"][0]["clientConfig"]
    if not config.get("url") or not config.get("caBundle"):
        return None
    base = config["url"].removesuffix("/admission/mutate")
    return Detour(base, base64.b64decode(config["caBundle"]), await read_key(client))
