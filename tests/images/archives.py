"""The images and where their archives are kept."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from syncer.image.build import Builder, default_cache
from syncer.image.contents import PREFIX, PYTHON, Contents

PAUSE = "localhost/pause:3.10"
"""Holds a pod's namespaces."""
REVERSEWORDS = "localhost/reversewords:1"
REVERSEWORDS_2 = "localhost/reversewords:2"
"""The same program under another name: what a new release of an application looks like."""
SYNCER = "localhost/kcp-syncer:dev"
KCP = "localhost/kcp:dev"

# Tags other than "latest": the pull policy is then IfNotPresent, and there is no registry to pull from.

_PROGRAMS = {PAUSE: "pause.py", REVERSEWORDS: "reversewords.py", REVERSEWORDS_2: "reversewords.py"}


def ensure(folder: Path | None = None) -> list[Path]:
    """OCI archives of all images, in ``folder`` (default: the cache folder), built where missing or outdated.

    Raises syncer.image.errors.ImageError.
    """
    builder = Builder(default_cache())
    folder = folder or builder.cache
    archives = []
    for tag, script in _PROGRAMS.items():
        archives.append(folder / _file_name(tag))
        tools: Contents = {f"{PREFIX}/bin/tar": _program("tar.py")}
        builder.program(archives[-1], tag=tag, files=tools, name=Path(script).stem, start=_program(script))
    for tag, build in ((SYNCER, builder.syncer), (KCP, builder.kcp)):
        archives.append(folder / _file_name(tag))
        build(archives[-1], tag=tag)
    return archives


def _program(script: str) -> bytes:
    # Isolated and without site-packages: these programs need nothing but the standard library.
    return f"#!/{PYTHON} -IS\n".encode() + resources.files("tests.images").joinpath(script).read_bytes()


def _file_name(tag: str) -> str:
    return tag.rpartition("/")[2].replace(":", "-") + ".tar"
