"""Find a control-plane program that is on this machine already."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy", "kwok",
)  # fmt: skip
KUBERNETES = "1.36.3"
"""The release that everything is built and tested with."""


class BinaryError(Exception):
    """A program that cannot be had; the message is one line that says which way failed and why."""


def cache_folder() -> Path:
    """Where downloaded and built programs are kept: one folder for each release."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kcp" / f"kubernetes-v{KUBERNETES}"


def candidates(name: str) -> list[tuple[str, Path]]:
    """Places to look, in order, each with what it is called in messages."""
    places: list[tuple[str, Path]] = []
    own = os.environ.get(f"KCP_{name.upper().replace('-', '_')}")
    if own:
        places.append((f"KCP_{name.upper().replace('-', '_')}", Path(own)))
    for variable in ("KCP_BIN_DIR", "KUBEBUILDER_ASSETS"):
        folder = os.environ.get(variable)
        if folder:
            places.append((variable, Path(folder) / name))
    places.append(("cache", cache_folder() / name))
    on_path = shutil.which(name)
    if on_path:
        places.append(("PATH", Path(on_path)))
    return places


def find(name: str) -> Path:
    """Path of program ``name``. Raises BinaryError if it is nowhere."""
    tried = candidates(name)
    for _, path in tried:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    where = ", ".join(f"{label} ({path})" for label, path in tried)
    raise BinaryError(f"{name} not found in {where}; `kcp binaries fetch` obtains it")
