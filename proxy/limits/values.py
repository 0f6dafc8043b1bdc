"""Limits of one workspace."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkspaceLimits:
    """What a workspace may have at once of all workers of a kcp together; 0: no limit, but for ``shares``."""

    requests_in_flight: int = 32
    """Requests that a shard works on, an eighth of that while other workspaces ask as well; expensive ones count up to
    four times. Further ones wait."""
    queued_requests: int = 512
    """Requests that wait; further ones get 429."""
    requests_per_second: int = 0
    """Off by default: what is fair is decided by the queue, where there is somebody to be fair to."""
    watches: int = 2000
    """Each costs the proxy some 100 KiB and two file descriptors."""
    streams: int = 500
    """Logs, exec, attach, port-forward: connections through tunnels to physical clusters."""
    request_megabytes: int = 64
    """Bodies of requests that wait or are under way, in MiB."""
    unread_megabytes: int = 64
    """Answers that clients leave unread, in MiB: what lies in the proxy for slow readers."""
    crds: int = 500
    """CRDs of its own: each costs the shard a MiB or two."""
    objects: int = 50_000
    """All that it has on its shard: a kube-apiserver holds them in memory (0.4 GiB for so many of a KiB), and a
    workspace with many more could not be moved to another shard (docs/operations.md)."""
    shares: int = 1
    """Of the shard, where workspaces compete for it: who has two gets twice as much."""

    def of_each(self, workers: int) -> WorkspaceLimits:
        """What one of ``workers`` grants by itself. They do not ask each other: connections spread over them by chance,
        so that a limit is reached a little early, and never exceeded by more than is rounded up."""

        def part(limit: int) -> int:
            return -(-limit // workers)

        return WorkspaceLimits(
            requests_in_flight=part(self.requests_in_flight),
            queued_requests=part(self.queued_requests),
            requests_per_second=part(self.requests_per_second),
            watches=part(self.watches),
            streams=part(self.streams),
            request_megabytes=part(self.request_megabytes),
            unread_megabytes=part(self.unread_megabytes),
            crds=self.crds,
            objects=self.objects,
            shares=self.shares,
        )


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """What a worker is told of limits."""

    workers: int = 1
    """Among which they are divided."""
    shard_requests: int = 64
    """Requests in flight to one shard."""
    workspace: WorkspaceLimits = WorkspaceLimits()
    file: str | None = None
    """With limits of single workspaces."""
