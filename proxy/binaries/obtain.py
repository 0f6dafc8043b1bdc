"""Make sure that programs are there: found, or downloaded, or built."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from proxy.binaries.build import build
from proxy.binaries.find import BinaryError, cache_folder, locate
from proxy.binaries.releases import download, release_of, this_platform

Progress = Callable[[str], None]


def ensure(names: Iterable[str], progress: Progress = lambda _: None) -> dict[str, Path]:
    """Paths of all ``names``; what is missing goes to the cache folder first. Raises BinaryError.

    ``progress`` gets short lines of what is being done, several a minute.
    """
    return {name: _ensure(name, progress) for name in names}


def _ensure(name: str, progress: Progress) -> Path:
    found = locate(name)
    if found is not None:
        return found[1]
    target = cache_folder() / name
    failures = []
    release = release_of(name)
    if release is None:
        failures.append(f"download: no checksum is pinned for {this_platform()}")
    else:
        try:
            download(release, target, progress)
            return target
        except BinaryError as error:
            failures.append(f"download: {error}")
            progress(f"{name}: {failures[-1]}; building it instead")
    try:
        build(name, target, progress)
        return target
    except BinaryError as error:
        failures.append(f"build: {error}")
    raise BinaryError(f"{name} cannot be obtained: {'; '.join(failures)}")
