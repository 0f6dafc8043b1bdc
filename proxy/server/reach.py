"""Requests that go on to where a pod runs, through a tunnel of its cluster's syncer; and those that make a tunnel.

The cluster is told the namespace as the workspace names it: which one of its own that is, and whether it is one at all,
only the syncer knows. No credentials and no names of users leave for there.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from proxy.identities import Identity
from proxy.kube.client import METADATA, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.gate import gate
from proxy.mapping.natives import refuse_hidden
from proxy.mapping.paths import RequestInfo, not_allowed
from proxy.server.messages import Forward, Header, Request, Switch
from proxy.server.replies import unavailable
from proxy.server.tunnels import INSTANCE, PROTOCOL, Tunnels
from proxy.tenancy.index import Workspace

PODS = Resource("", "v1", "pods")
LOG = "log"
STREAMS = frozenset({"attach", "exec", "portforward"})
"""Subresources that are spoken with, by protocols of their own; like a kube-apiserver since 1.35, whoever may only
``get`` them may not."""
REACHED = STREAMS | {LOG}
TUNNELS = ("workload.kcp.dev", "workloadclusters", "tunnel")

SYNCED_UP = "workloads.kcp.dev/synced-up"
CLUSTER_LABEL = "workloads.kcp.dev/cluster"
SEVERAL = "Several"
STATUS = "experimental.status.workload.kcp.dev/"
"""Labels and annotations of pods: `docs/workloads.md`."""

PROTOCOLS = frozenset({b"spdy/3.1", b"websocket"})
"""To which a kube-apiserver switches for these."""
PASSED_ON = frozenset(
    {b"accept", b"user-agent", b"x-stream-protocol-version", b"sec-websocket-extensions", b"sec-websocket-key",
     b"sec-websocket-protocol", b"sec-websocket-version"}
)  # fmt: skip
BEARER = b"base64url.bearer.authorization.k8s.io."
"""Begin of a WebSocket protocol that is a token: how browsers send it to a kube-apiserver."""


class Reach:
    """Of one worker. ``clients``: of the shards, by name."""

    def __init__(self, clients: Mapping[str, Client], tunnels: Tunnels) -> None:
        self._clients = Identity.REACHING.on_all(clients)
        self._tunnels = tunnels

    async def cluster_of(self, workspace: Workspace, info: RequestInfo) -> str:
        """Name of the WorkloadCluster that runs the pod. Raises StatusError where there is no such pod, or no cluster
        has it."""
        path = PODS.path(workspace.prefix + info.namespace, info.name)
        gate(b"GET", path.encode(), b"", workspace.token)
        try:
            pod = await self._clients[workspace.shard].request("GET", path, accept=METADATA)
        except StatusError as error:
            if error.code == 404:
                details = {"name": info.name, "kind": "pods"}
                raise StatusError(404, f'pods "{info.name}" not found', details=details) from error
            raise unavailable(workspace.shard, "the pod cannot be looked up") from error
        cluster = _cluster_of(pod["metadata"])
        if not cluster:
            refuse_hidden(info.group, info.resource, info.subresource, info.name)
        return cluster

    def forward(self, request: Request, info: RequestInfo, workspace: Workspace, cluster: str) -> Forward:
        """The request as it goes through the tunnel."""
        query = urllib.parse.urlencode(info.query)
        target = PODS.path(info.namespace, info.name, info.subresource) + (f"?{query}" if query else "")
        headers = [*_passed_on(request.headers)]
        switch = request.header(b"upgrade").lower() in PROTOCOLS
        if switch:
            headers += [(b"connection", b"Upgrade"), (b"upgrade", request.header(b"upgrade"))]
        return Forward(
            workspace.shard, request.method, target.encode(), headers, streaming=True,
            idempotent=info.subresource == LOG, way=self._tunnels.cluster(workspace.token, cluster), upgrade=switch,
        )  # fmt: skip

    def accept(self, request: Request, info: RequestInfo, workspace: Workspace) -> Switch:
        """A syncer's request for a tunnel. Raises StatusError."""
        if info.verb != "create":
            raise not_allowed()
        if request.header(b"upgrade").lower() != PROTOCOL:
            raise StatusError(400, f"a tunnel needs the header Upgrade: {PROTOCOL.decode()}")
        tunnels, token, name = self._tunnels, workspace.token, info.name
        if not tunnels.room(token, name):
            raise StatusError(429, f"enough tunnels to cluster {name} wait already")
        headers = [(INSTANCE, tunnels.instance.encode())]
        return Switch(PROTOCOL, lambda transport: tunnels.accept(token, name, transport), headers)


def reached(info: RequestInfo) -> bool:
    """Whether it is for a part of a pod that only its node knows, or for a tunnel to there."""
    if info.group:
        return (info.group, info.resource, info.subresource) == TUNNELS
    return info.resource == "pods" and info.subresource in REACHED


def methods(info: RequestInfo) -> None:
    """Raises StatusError 405 for what a kube-apiserver does not know at pods' subresources."""
    if info.verb != "get" and not (info.verb == "create" and info.subresource in STREAMS):
        raise not_allowed()


def _cluster_of(meta: Object) -> str:
    labels = meta.get("labels") or {}
    cluster = str(labels.get(SYNCED_UP) or labels.get(CLUSTER_LABEL) or "")
    if cluster != SEVERAL:
        return cluster
    # Brought to several clusters from above: any of those that say something of it.
    told = sorted(key for key in meta.get("annotations") or () if key.startswith(STATUS))
    return told[0].removeprefix(STATUS) if told else ""


def _passed_on(headers: list[Header]) -> list[Header]:
    passed = []
    for name, value in headers:
        if name not in PASSED_ON:
            continue
        if name == b"sec-websocket-protocol" and BEARER in value:
            protocols = [part.strip() for part in value.split(b",")]
            value = b", ".join(part for part in protocols if not part.startswith(BEARER))
        passed.append((name, value))
    return passed
