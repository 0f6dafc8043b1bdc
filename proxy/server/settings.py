"""What a proxy worker is told: plain data, handed over as a JSON file of mode 0600."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from proxy.audit.settings import AuditSettings, Rotation
from proxy.auth.oidc import OidcSettings
from proxy.limits.values import LimitSettings, WorkspaceLimits
from proxy.server.tracing import TracingSettings


@dataclass(frozen=True, slots=True)
class ShardSettings:
    """One shard."""

    name: str
    """As in ``--shard NAME=…`` and in the workspaces' status."""
    kubeconfig: str
    """File whose current context has full rights on the shard: it impersonates all who ask."""
    asks: bool = False
    """Whether it asks proxies about writes (`proxy.shard.asking`), so that workspaces may have webhooks."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client may make a worker hold."""

    target: int = 16 * 1024
    """Bytes of path and query; selectors can be long."""
    headers: int = 64 * 1024
    """Bytes of all header names and values; impersonation of users with many groups needs room."""
    header_count: int = 200
    """Header fields; each group of ``--as-group`` is one."""
    body: int = 3 * 1024 * 1024
    """Bytes of a request body: kube-apiserver's own limit (``MaxRequestBodyBytes``)."""
    question: int = 8 * 1024 * 1024
    """Bytes of a shard's question about a write (`proxy.admission`), in which the object stands as it is and as it
    was."""
    pipelined: int = 64 * 1024
    """Bytes of further requests that are read before the first one is answered."""
    header_timeout: float = 30.0
    """Seconds for a request's head to arrive (kube-apiserver: 32), so that slow senders cannot hold connections."""
    request_timeout: float = 60.0
    """Seconds for a request to arrive whole, as kube-apiserver's ``--request-timeout``."""
    idle_timeout: float = 180.0
    """Seconds of silence between requests; client-go keeps connections for 90."""
    stall_timeout: float = 120.0
    """Seconds that a client may leave what was written to it unread; watches excepted, which the shard itself ends."""
    pipe_timeout: float = 4 * 3600.0
    """Seconds of silence after which an upgraded connection (exec, port-forward) ends: a kubelet's own limit
    (``streamingConnectionIdleTimeout``)."""
    gone_timeout: float = 60.0
    """Seconds without a sign of life from a peer's host, after which a connection is cut."""
    answer_timeout: float = 65.0
    """Seconds that a shard may be silent while it answers: kube-apiserver gives up after 60 itself."""
    buffered: int = 128 * 1024
    """Bytes of an answer that are collected for one write; what is larger is streamed, and compressed for clients that
    ask for it, as by a kube-apiserver (``defaultGzipThresholdBytes``)."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One proxy."""

    bind_address: str
    port: int
    cert_file: str
    """PEM of the serving certificate and its chain."""
    key_file: str
    external_url: str
    """``https://HOST:PORT`` as clients reach it."""
    shards: tuple[ShardSettings, ...]
    client_ca_file: str | None = None
    """PEM of CAs whose client certificates are accepted."""
    token_files: tuple[str, ...] = ()
    """Static tokens: kcp's own and ``--token-auth-file``."""
    oidc: OidcSettings | None = None
    """Whose ID tokens are accepted."""
    authentication_file: str | None = None
    """AuthenticationConfiguration, which says that instead."""
    token_webhook: str | None = None
    """Kubeconfig of a server that is asked about other tokens."""
    audit: AuditSettings | None = None
    """Which requests are recorded; None for none."""
    metrics_folder: str | None = None
    """Where a worker makes the socket on which its metrics are read; None for none."""
    run_folder: str | None = None
    """Where workers make the sockets on which they ask each other for tunnels; None where there is but one."""
    busiest_workspaces: int = 0
    """How many workspaces metrics may name."""
    verbosity: int = 0
    tracing: TracingSettings | None = None
    """Where spans of requests go."""
    log_format: str = "console"
    """One of `proxy.logs.FORMATS`."""
    log_requests: bool = False
    """Whether each request has a line in the log."""
    webhook_networks: tuple[str, ...] = ()
    """Networks in CIDR notation in which webhooks of workspaces may be, beside all that are not this machine's, nor
    reached by it alone."""
    conversion_webhooks: bool = True
    """Whether CRDs of workspaces may have conversion webhooks."""
    own_addresses: tuple[str, ...] = ()
    """Of this machine."""
    limits: Limits = field(default_factory=Limits)
    shares: LimitSettings = field(default_factory=LimitSettings)
    """What workspaces may have of what all share."""

    def write(self, path: Path) -> None:
        """Atomically, for the owner alone."""
        temporary = path.with_name(f".{path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=2)
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> ServerSettings:
        values: dict[str, Any] = json.loads(path.read_text())
        values["shards"] = tuple(ShardSettings(**shard) for shard in values["shards"])
        values["limits"] = Limits(**values["limits"])
        shares = values["shares"]
        values["shares"] = LimitSettings(**{**shares, "workspace": WorkspaceLimits(**shares["workspace"])})
        if values.get("oidc"):
            lists = {key: tuple(values["oidc"][key]) for key in ("required_claims", "signing_algs")}
            values["oidc"] = OidcSettings(**{**values["oidc"], **lists})
        if values.get("audit"):
            audit = values["audit"]
            values["audit"] = AuditSettings(**{**audit, "rotation": Rotation(**audit["rotation"])})
        if values.get("tracing"):
            values["tracing"] = TracingSettings(**values["tracing"])
        for key in ("token_files", "webhook_networks", "own_addresses"):
            values[key] = tuple(values[key])
        return cls(**values)


def listening_file(run_folder: Path, name: str) -> Path:
    """It is there from when the worker of that name takes connections."""
    return run_folder / f"{name}.listening"
