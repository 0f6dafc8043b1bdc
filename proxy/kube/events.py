"""Follow the changes of a resource without keeping its objects."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from proxy.kube.client import METADATA, METADATA_LIST, Client, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)


async def follow(
    client: Client,
    resource: Resource,
    changed: Callable[[str, str], None],
    connected: Callable[[bool], None],
) -> None:
    """Call ``changed(namespace or "", name)`` at each event from now on, until cancelled.

    ``connected(True)`` when a watch begins that may have missed what came before it, ``connected(False)`` when it
    breaks; a watch that the server ends in good order is resumed where it was and reports nothing.
    """
    version: str | None = None
    up = False
    failures = 0
    while True:
        try:
            if version is None:
                page = await client.request("GET", resource.path(), params={"limit": 1}, accept=METADATA_LIST)
                version = str(page["metadata"]["resourceVersion"])
            if not up:
                up = True
                connected(True)
            async for event in client.watch(resource, resource_version=version, accept=METADATA):
                failures = 0
                meta = event["object"]["metadata"]
                version = meta.get("resourceVersion") or version
                if event["type"] != "BOOKMARK":
                    changed(meta.get("namespace") or "", meta["name"])
        except StatusError as error:
            version = None
            if up:
                up = False
                connected(False)
            if error.code == 410:
                continue
            failures += 1
            log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s: %s", resource.plural, error)
            await asyncio.sleep(min(0.1 * 2 ** min(failures, 7), 10.0) * random.uniform(0.5, 1.0))
