"""What a WorkloadCluster with ``spec.push``, its Secret and its workspace say together. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

SECRET_TYPE = "workload.kcp.dev/kubeconfig"
"""A Secret of any other type is not taken for a kubeconfig: it would be taken down to clusters with its namespace, and
who may write WorkloadClusters could try out what they may not read."""
KEY = "kubeconfig"


class Problem(Exception):
    """Why a cluster cannot be synced: reason and message of the condition; neither has anything secret in it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and (self.reason, self.message) == (other.reason, other.message)

    def __hash__(self) -> int:
        return hash((self.reason, self.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One cluster to be synced. Equal ones are synced in the same way."""

    shard: str
    workspace: str
    """Path."""
    cluster: str
    """Name of the WorkloadCluster in it."""
    uid: str
    namespace: str
    """Of the Secret and of the service account."""
    secret: str
    resources: tuple[str, ...]
    sync_up: tuple[str, ...] = ()
    tunnel: bool = False
    delete: bool = False
    """Whether what stands below goes with the WorkloadCluster."""
    digest: str = ""
    """Of the kubeconfig."""
    kubeconfig: bytes = field(default=b"", repr=False, compare=False)
    problem: Problem | None = None
    version: str = field(default="", compare=False)
    """Of the Secret, when that was read."""

    @property
    def account(self) -> str:
        return f"syncer-{self.cluster}"


def is_push(cluster: Object) -> bool:
    return bool((cluster.get("spec") or {}).get("push"))


def secret_of(cluster: Object) -> tuple[str, str]:
    """Namespace and name of the Secret, in the workspace."""
    reference = cluster["spec"]["push"]["secretRef"]
    return str(reference.get("namespace") or "default"), str(reference["name"])


def wanted(cluster: Object, secret: Object | None, *, shard: str, workspace: str, name: str) -> Wanted:
    """``name``: of the WorkloadCluster in the workspace; ``secret``: the one of `SECRET_TYPE`, if there is one."""
    push: Mapping[str, Any] = cluster["spec"]["push"]
    namespace, secret_name = secret_of(cluster)
    text, problem = b"", None
    try:
        text = _text(secret, f"{namespace}/{secret_name}")
    except Problem as found:
        problem = found
    return Wanted(
        shard=shard,
        workspace=workspace,
        cluster=name,
        uid=cluster["metadata"]["uid"],
        namespace=namespace,
        secret=secret_name,
        resources=tuple(sorted(set(push.get("resources") or ()))),
        sync_up=tuple(sorted(set(push.get("syncUp") or ()))),
        tunnel=bool(push.get("tunnel")),
        delete=push.get("onRemoval") == "delete",
        digest=hashlib.sha256(text).hexdigest(),
        kubeconfig=text,
        problem=problem,
        version=str(secret["metadata"]["resourceVersion"]) if secret else "",
    )


def _text(secret: Object | None, where: str) -> bytes:
    if secret is None:
        raise Problem(
            "SecretNotFound",
            f"there is no Secret {where} of type {SECRET_TYPE} in the workspace; "
            "kubectl kcp workload sync NAME --push FILE makes one",
        )
    try:
        text = base64.b64decode((secret.get("data") or {}).get(KEY) or "", validate=True)
    except (ValueError, binascii.Error, TypeError):
        text = b""
    if not text:
        raise Problem("SecretInvalid", f"Secret {where} has no kubeconfig under the key {KEY!r}")
    return text
