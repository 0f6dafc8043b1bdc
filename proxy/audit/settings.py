"""What the audit log is told: plain data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a log file is put aside, and how long those are kept; 0 is without bound, as kube-apiserver's flags have
    it."""

    max_size: int = 100
    """Megabytes."""
    max_backups: int = 0
    max_age: int = 0
    """Days."""
    compress: bool = False


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """What is recorded, and where it goes."""

    policy_file: str | None = None
    """Without one: the metadata of all requests."""
    log_path: str | None = None
    rotation: Rotation = field(default_factory=Rotation)
    webhook_kubeconfig: str | None = None
    """File whose current context names the server."""
