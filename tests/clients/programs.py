"""What these tests need beside Python packages: Go programs, pinned in ``go/go.mod`` and ``go/go.sum``, and the
JavaScript client, pinned in ``js/package-lock.json``."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.binaries import BinaryError
from proxy.binaries.build import compile_package
from proxy.binaries.find import cache_folder

MODULE = Path(__file__).parent / "go"
JAVASCRIPT = Path(__file__).parent / "js"
PACKAGES = {"helm": "helm.sh/helm/v3/cmd/helm", "operator": "./operator"}


def _folder(sources: list[Path]) -> Path:
    """In the cache, under what it is made of: what is made of other sources is never taken for this."""
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache_folder().parent / f"clients-{digest.hexdigest()[:12]}"


def _place(name: str) -> Path:
    return _folder([file for file in MODULE.rglob("*") if file.suffix in {".mod", ".sum", ".go"}]) / name


def _modules() -> Path:
    return _folder([*JAVASCRIPT.glob("package*.json")]) / "node_modules"


def obtain(say: Callable[[str], None]) -> None:
    """Build what is missing. It is no error where that cannot be done: its tests say that they are skipped."""
    for name, package in PACKAGES.items():
        if not _place(name).is_file():
            say(f"building {name}")
            try:
                compile_package(package, MODULE, _place(name), f"building {name}", lambda _: None)
            except BinaryError as error:
                say(f"{name} will not be tested: {error}")
    if not _modules().is_dir():
        say("installing the JavaScript client")
        problem = _install(_modules().parent)
        if problem:
            say(f"the JavaScript client will not be tested: {problem}")


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
    """Where it is; skips the test that asks if it is not there."""
    place = _place(name)
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
