"""Where the workspace root is: on one shard of several, found again wherever that stands in the list of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.tenancy.api import ROOT
from proxy.tenancy.index import LOGICAL_CLUSTERS

log = logging.getLogger(__name__)

AGAIN = 0.5
"""Seconds between looks at shards that did not answer."""


async def root_shard(shards: Mapping[str, Client], first: str) -> str:
    """Name of the shard with the workspace root; ``first`` if there is none anywhere, which takes an answer of every
    shard: a second root would be a second tree of workspaces."""
    said: set[str] = set()
    while True:
        answers = await asyncio.gather(*(_has_root(client) for client in shards.values()), return_exceptions=True)
        silent = []
        for name, answer in zip(shards, answers, strict=True):
            if answer is True:
                return name
            if isinstance(answer, StatusError):
                silent.append(f"shard {name}: {answer.message}")
            elif isinstance(answer, BaseException):
                raise answer
        if not silent:
            return first
        for message in silent:
            if message not in said:
                log.warning("looking for the workspace root: %s", message)
        said.update(silent)
        await asyncio.sleep(AGAIN)


async def _has_root(client: Client) -> bool:
    try:
        return bool((await client.list(LOGICAL_CLUSTERS, field_selector=f"spec.path={ROOT}"))["items"])
    except StatusError as error:
        if error.code == 404:  # not prepared as a shard yet
            return False
        raise
