"""Find a control-plane program that is on this machine already."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

KUBERNETES = "1.36.3"
"""The release that everything is built and tested with."""
ETCD = "3.6.15"
KWOK = "0.8.0"

VERSIONS = {
    "etcd": ETCD,
    "etcdutl": ETCD,
    "kube-apiserver": KUBERNETES,
    "kube-controller-manager": KUBERNETES,
    "kube-scheduler": KUBERNETES,
    "kubectl": KUBERNETES,
    "kubelet": KUBERNETES,
    "kube-proxy": KUBERNETES,
    "kwok": KWOK,
}
NAMES = tuple(VERSIONS)


class BinaryError(Exception):
    """A program that cannot be had; the message is one line that says which way failed and why."""


def cache_folder() -> Path:
    """Where downloaded and built programs are kept: one folder for each release."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kcp" / f"kubernetes-v{KUBERNETES}"


def candidates(name: str) -> Iterator[tuple[str, Path]]:
    """Places to look, in order, each with what it is called in messages.

    What a person names explicitly comes first and is taken as it is; a program that merely happens to be on PATH
    counts only where `usable_from_path` says so.
    """
    variable = f"KCP_{name.upper().replace('-', '_')}"
    if os.environ.get(variable):
        yield variable, Path(os.environ[variable])
    for variable in ("KCP_BIN_DIR", "KUBEBUILDER_ASSETS"):
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable]) / name
    on_path = shutil.which(name)
    if on_path:
        yield "PATH", Path(on_path)
    yield "cache", cache_folder() / name


def locate(name: str) -> tuple[str, Path] | None:
    """Where ``name`` is and what that place is called, or None."""
    if name not in VERSIONS:
        raise BinaryError(f"{name} is none of the programs used here ({', '.join(NAMES)})")
    for label, path in candidates(name):
        if path.is_file() and os.access(path, os.X_OK) and (label != "PATH" or usable_from_path(name, path)):
            return label, path
    return None


def find(name: str) -> Path:
    """Path of program ``name``. Raises BinaryError if it is nowhere."""
    found = locate(name)
    if found is None:
        where = ", ".join(f"{label} ({path})" for label, path in candidates(name))
        raise BinaryError(f"{name} {VERSIONS[name]} not found in {where}; `kcp binaries fetch {name}` obtains it")
    return found[1]


def usable_from_path(name: str, path: Path) -> bool:
    """Whether a program found on PATH is of the minor release that is wanted: others change flags and answers."""
    version = installed_version(name, path)
    return version is not None and version.split(".")[:2] == VERSIONS[name].split(".")[:2]


def installed_version(name: str, path: Path) -> str | None:
    """What the program says of its version, e.g. ``1.36.3``; None if it does not run."""
    arguments = {"kubectl": ["version", "--client"], "etcdutl": ["version"]}.get(name, ["--version"])
    try:
        output = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\bv?(\d+\.\d+\.\d+)\b", output)
    return match.group(1) if match else None
