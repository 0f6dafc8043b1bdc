"""What shards say of themselves: a few of a kube-apiserver's own metrics, asked for now and then.

A kube-apiserver's ``/metrics`` has megabytes: too much to be passed on with each scrape, and most is of no use here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.metrics.snapshot import Family, counter, gauge

log = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between questions."""
_LINE = re.compile(
    r"^(apiserver_storage_size_bytes|apiserver_storage_objects|apiserver_resource_objects"
    r"|apiserver_current_inflight_requests|apiserver_longrunning_requests"
    r"|apiserver_request_total|process_cpu_seconds_total|process_resident_memory_bytes|kubernetes_build_info)"
    r"(?:\{(.*)\})? (\S+)$",
    re.MULTILINE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class Shards:
    """``run()`` asks; ``families()`` is what was heard last."""

    def __init__(self, *, every: float = EVERY) -> None:
        self.clients: dict[str, Client] = {}
        self.quotas: dict[str, int] = {}
        """Bytes that a shard's etcd may take, where that is known."""
        self._every = every
        self._heard: dict[str, Mapping[str, float]] = {}
        self._versions: dict[str, str] = {}

    def forget(self, name: str) -> None:
        for known in (self.clients, self.quotas, self._heard, self._versions):
            known.pop(name, None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.gather(*(self._ask(name, client) for name, client in list(self.clients.items())))
            await asyncio.sleep(self._every)

    async def _ask(self, name: str, client: Client) -> None:
        try:
            text = await client.request("GET", "/metrics", accept="text/plain", timeout=20)
        except StatusError as error:
            log.debug("metrics of shard %s: %s", name, error)
            self._heard.pop(name, None)
            return
        self._heard[name], self._versions[name] = await asyncio.to_thread(read, str(text))

    def families(self) -> list[Family]:
        """Of shards that do not answer nothing is shown."""
        made = {
            "size": gauge("kcp_shard_storage_bytes", "Size of a shard's etcd.", "shard"),
            "objects": gauge("kcp_shard_objects", "Objects in a shard's etcd.", "shard"),
            "inflight": gauge("kcp_shard_requests_in_flight", "Short requests at a shard.", "shard"),
            "long": gauge("kcp_shard_long_requests", "Watches and the like at a shard.", "shard"),
            "requests": counter("kcp_shard_requests", "Requests that a shard has answered.", "shard"),
            "failed": counter("kcp_shard_requests_failed", "Of these, those with 5xx.", "shard"),
            "cpu": counter("kcp_shard_cpu_seconds", "CPU time of a shard's kube-apiserver.", "shard"),
            "memory": gauge("kcp_shard_resident_memory_bytes", "Memory of a shard's kube-apiserver.", "shard"),
        }
        for shard, heard in self._heard.items():
            for key, family in made.items():
                family.values[(shard,)] = heard.get(key, 0.0)
        quota = gauge("kcp_shard_storage_quota_bytes", "What a shard's etcd may take.", "shard")
        quota.values.update({(shard,): size for shard, size in self.quotas.items()})
        info = gauge("kcp_shard_info", "Version of a shard's kube-apiserver.", "shard", "version")
        info.values.update(dict.fromkeys(self._versions.items(), 1))
        return [*made.values(), quota, info]


def read(text: str) -> tuple[Mapping[str, float], str]:
    """Numbers by the keys of `Shards.families`, and the server's version, out of a kube-apiserver's metrics."""
    numbers = dict.fromkeys(
        ("size", "objects", "inflight", "long", "requests", "failed", "cpu", "memory", "again"), 0.0
    )
    version = ""
    for name, inside, written in _LINE.findall(text):
        value = float(written)
        if name == "kubernetes_build_info":
            version = dict(_LABEL.findall(inside)).get("git_version", "")
        elif name == "apiserver_request_total":
            numbers["requests"] += value
            if 'code="5' in inside:
                numbers["failed"] += value
        else:
            # -1: a count that the server could not make
            numbers[_KEYS[name]] += max(value, 0.0)
    numbers["objects"] = max(numbers["objects"], numbers["again"])
    return numbers, version


_KEYS = {
    "apiserver_storage_size_bytes": "size",
    "apiserver_storage_objects": "objects",
    "apiserver_resource_objects": "again",  # the new name, beside the old one while both are there
    "apiserver_current_inflight_requests": "inflight",
    "apiserver_longrunning_requests": "long",
    "process_cpu_seconds_total": "cpu",
    "process_resident_memory_bytes": "memory",
}
