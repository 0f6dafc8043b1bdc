"""What tests want of a physical cluster, whoever makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from proxy.kube.client import Client
from tests.clusters.spec import Runtime


class Cluster(Protocol):
    """A cluster of one node."""

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path:
        """Its own; with its logs, where they are on this machine."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def kubeconfig(self) -> Path:
        """Of an administrator; there while the cluster is up."""

    @property
    def address(self) -> str:
        """Of its node, as this machine reaches it."""

    @property
    def process(self) -> int | None:
        """On this machine, the one from which all others of the cluster come; None: it is not running."""

    def client(self) -> Client:
        """A new administrator's client."""

    async def start(self, say: Callable[[str], None] = ...) -> None:
        """With the data that it had if it was stopped. Raises ClusterError."""

    async def stop(self) -> None: ...
    async def destroy(self) -> None:
        """Leaves nothing of it."""
