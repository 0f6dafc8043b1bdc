"""Control groups of a node, below this process's own: its root, and all that it sees of the machine's.

Both versions of the kernel's interface: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clusters.errors import ClusterError
from tests.clusters.system import run

MOUNT = Path("/sys/fs/cgroup")
NEEDED = ("cpu", "memory", "pids")
WANTED = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A line of ``/proc/self/cgroup``: one tree of groups."""

    controllers: tuple[str, ...]
    """Empty for version 2; ``("name=systemd",)`` for one without controllers."""
    group: str
    """Where this process is in it, e.g. ``/user.slice``."""

    @property
    def folder(self) -> Path:
        """Where it is mounted."""
        return MOUNT / ",".join(name.removeprefix("name=") for name in self.controllers) if self.controllers else MOUNT

    @property
    def own(self) -> Path:
        """This process's group. A container may see only a part of the tree, with paths of the whole: then the top."""
        path = self.folder / self.group.lstrip("/")
        return path if path.is_dir() else self.folder


def is_unified() -> bool:
    """Whether everything is under version 2; can be told before anything is mounted."""
    return not _listed()


def create(name: str) -> list[Path]:
    """Make the groups of a node, one in each hierarchy. Raises ClusterError."""
    if is_unified():
        return [_create_unified(name)]
    made: list[Path] = []
    for hierarchy in _hierarchies():
        group = hierarchy.own / name
        try:
            group.mkdir(exist_ok=True)
            if "cpuset" in hierarchy.controllers:  # a new group has neither processors nor memory
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (group / file).write_text((hierarchy.own / file).read_text())
        except OSError as error:
            remove(made)
            raise ClusterError(f"control group {group}: {error.strerror}") from error
        made.append(group)
    covered = {name for hierarchy in _hierarchies() for name in hierarchy.controllers}
    if not covered.issuperset(NEEDED):
        remove(made)
        raise ClusterError(f"{MOUNT} lacks control groups for {', '.join(sorted(set(NEEDED) - covered))}")
    return made


def write(groups: Sequence[Path], file: Path) -> None:
    """Write down what was made, for `read`."""
    file.write_text("".join(f"{group}\n" for group in groups))


def read(file: Path) -> list[Path]:
    """The groups written down in ``file``; none if it is missing."""
    try:
        return [Path(line) for line in file.read_text().splitlines()]
    except FileNotFoundError:
        return []


def enter(groups: Sequence[Path]) -> None:
    """Move this process."""
    for group in groups:
        (group / "cgroup.procs").write_text(str(os.getpid()))


def mount() -> None:
    """In the node's mount and cgroup namespaces, ``/sys`` being new: mount what belongs to the node."""
    if is_unified():
        run("mount", "-t", "cgroup2", "cgroup", MOUNT)
        # Only groups without processes of their own can hand controllers down: init moves aside.
        (MOUNT / "init").mkdir(exist_ok=True)
        for pid in (MOUNT / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                (MOUNT / "init" / "cgroup.procs").write_text(pid)
        available = (MOUNT / "cgroup.controllers").read_text().split()
        (MOUNT / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in available))
        return
    run("mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", MOUNT)
    for hierarchy in _listed():
        hierarchy.folder.mkdir()
        options = ",".join(f"none,{name}" if name.startswith("name=") else name for name in hierarchy.controllers)
        run("mount", "-t", "cgroup", "-o", options, "cgroup", hierarchy.folder)
        if len(hierarchy.controllers) > 1:
            for name in hierarchy.controllers:
                (MOUNT / name).symlink_to(hierarchy.folder.name)


def remove(groups: Sequence[Path], timeout: float = 10) -> list[Path]:
    """Remove the groups and all below them, waiting for processes that are about to end; returns those that stay."""
    deadline = time.monotonic() + timeout
    left = [group for group in groups if group.exists()]
    while left:
        for group in left:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        left = [group for group in left if group.exists()]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return left


def _create_unified(name: str) -> Path:
    """The nearest group above this process that can hand controllers down gets a child."""
    own = Hierarchy((), _unified_group()).own
    reason = ""
    for parent in [own, *own.parents]:
        if parent == MOUNT.parent:
            break
        try:
            available = (parent / "cgroup.controllers").read_text().split()
            if not set(NEEDED).issubset(available):
                reason = f"{parent} lacks controllers"
                continue
            handed_down = (parent / "cgroup.subtree_control").read_text().split()
            missing = [each for each in WANTED if each in available and each not in handed_down]
            if not set(NEEDED).issubset(handed_down):
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{each}" for each in missing))
            group = parent / name
            group.mkdir(exist_ok=True)
            return group
        except OSError as error:
            reason = f"{parent}: {error.strerror}"
    raise ClusterError(f"no control group can be divided: {reason}")


def _unified_group() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, group = line.split(":", 2)
        if number == "0":
            return group
    return "/"


def _hierarchies() -> list[Hierarchy]:
    """Those of version 1 that are mounted at the usual place."""
    return [hierarchy for hierarchy in _listed() if hierarchy.folder.is_dir()]


def _listed() -> list[Hierarchy]:
    listed = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers:
            listed.append(Hierarchy(tuple(controllers.split(",")), group))
    return listed
