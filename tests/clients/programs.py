"""Go programs of these tests: what they are built from is pinned in ``go/go.mod`` and ``go/go.sum``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.binaries import BinaryError
from proxy.binaries.build import compile_package
from proxy.binaries.find import cache_folder

MODULE = Path(__file__).parent / "go"
PACKAGES = {"helm": "helm.sh/helm/v3/cmd/helm", "operator": "./operator"}


def _place(name: str) -> Path:
    """In the cache, under what it is made of: a program of other sources is never taken for this one."""
    digest = hashlib.sha256()
    for file in sorted(MODULE.rglob("*")):
        if file.suffix in {".mod", ".sum", ".go"}:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache_folder().parent / f"clients-{digest.hexdigest()[:12]}" / name


def obtain(say: Callable[[str], None]) -> None:
    """Build what is missing. It is no error where that cannot be done: its tests say that they are skipped."""
    for name, package in PACKAGES.items():
        if not _place(name).is_file():
            say(f"building {name}")
            try:
                compile_package(package, MODULE, _place(name), f"building {name}", lambda _: None)
            except BinaryError as error:
                say(f"{name} will not be tested: {error}")


def program(name: str) -> Path:
    """Where it is; skips the test that asks if it is not there."""
    place = _place(name)
    if not place.is_file():
        pytest.skip(f"{name} is not built (python -m tests.clients says why)")
    return place
