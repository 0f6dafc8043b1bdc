"""What a cluster is and where its files are; written down, so that anybody can end it and clean up after it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tests.clusters.errors import ClusterError

Runtime = Literal["nodes", "kwok", "kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that the keeper of a cluster has to know."""

    name: str
    folder: Path
    runtime: Runtime
    number: int
    """Distinguishes the clusters of one root folder: addresses follow from it."""
    address: str
    """Where the kube-apiserver listens; the node's address where it is a real one."""
    gateway: str
    """Where pods find servers of this machine."""
    ports: tuple[int, ...]
    """The ports there that they may use."""
    images: tuple[Path, ...]
    """OCI archives that the node gets."""

    @property
    def node(self) -> str:
        """Name of the node."""
        return f"node-{self.name}"

    @property
    def control_plane(self) -> Path:
        return self.folder / "control-plane"

    @property
    def node_folder(self) -> Path:
        return self.folder / "node"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def ready(self) -> Path:
        """There while the cluster is up."""
        return self.folder / "ready"

    @property
    def failure(self) -> Path:
        """One line: why it did not come up."""
        return self.folder / "failure"

    @property
    def groups(self) -> Path:
        """The control groups that were made for it, one a line."""
        return self.folder / "groups"

    @property
    def keeper(self) -> Path:
        """The process that runs it, see `ProcessId`."""
        return self.folder / "keeper"

    @property
    def group(self) -> str:
        """Name of its control groups: of no other root's cluster."""
        return f"kcp-{hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]}-{self.name}"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.folder / ".spec.json"
        temporary.write_text(json.dumps(asdict(self), default=str, indent=2))
        temporary.replace(spec_file(self.folder))


def spec_file(folder: Path) -> Path:
    return folder / "spec.json"


def read(folder: Path) -> Spec:
    """The spec in ``folder``. Raises ClusterError where there is none."""
    try:
        value = json.loads(spec_file(folder).read_text())
        value |= {"folder": folder, "ports": tuple(value["ports"]), "images": tuple(map(Path, value["images"]))}
        return Spec(**value)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ClusterError(f"{folder} holds no cluster") from error


def read_all(root: Path) -> list[Spec]:
    """The clusters of a root folder, by name."""
    return [read(file.parent) for file in sorted(root.glob("*/spec.json"))]


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: str
    """Clock ticks since boot, from ``/proc/<pid>/stat``."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """None if there is no such process, or only what is left of one."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else cls(pid, fields[19])

    @classmethod
    def read(cls, file: Path) -> ProcessId | None:
        """The process written down in ``file``, if it still runs."""
        try:
            pid, started = file.read_text().split()
        except (OSError, ValueError):
            return None
        process = cls.of(int(pid))
        return process if process is not None and process.started == started else None

    def write(self, file: Path) -> None:
        file.write_text(f"{self.pid} {self.started}\n")

    def signal(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.alive():
            os.kill(self.pid, number)

    def alive(self) -> bool:
        return ProcessId.of(self.pid) == self
