"""What goes into a layer: the running interpreter, and a program with the packages that it imports."""

from __future__ import annotations

import fnmatch
import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from syncer.image.errors import ImageError

Contents = dict[str, "Path | bytes"]
"""Path in the image (no leading slash) → file to copy, or bytes. Bytes that begin with ``#!`` become executable."""

PREFIX = "usr/local"
LIBRARIES = f"{PREFIX}/lib"
APPLICATION = "app"
PYTHON = f"{PREFIX}/bin/python3"
ENVIRONMENT = {
    "PATH": f"/{PREFIX}/bin",
    # Libraries are in one folder: where a loader looks by itself depends on the distribution that it comes from.
    "LD_LIBRARY_PATH": f"/{LIBRARIES}",
    "PYTHONPATH": f"/{APPLICATION}",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
}

_LEFT_OUT = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data"),
    *("turtle.py", "config-*", "site-packages", "dist-packages", "__pycache__", "*.pyc", "*.a", "*.exe"),
    # Extension modules for terminals and databases, with libraries of their own, and for testing Python itself.
    *("_tkinter*.so", "_curses*.so", "readline*.so", "_dbm*.so", "_gdbm*.so", "nis*.so"),
    *("_test*.so", "*_test.*.so", "xx*.so"),
)  # fmt: skip
_LOADED_AT_RUN_TIME = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
"""glibc before 2.34 loads these for host names; ldd does not tell."""

_LIST_IMPORTS = """
import importlib, json, pkgutil, sys
before = set(sys.modules)
for root in sys.argv[1:]:
    module = importlib.import_module(root)
    for each in pkgutil.walk_packages(getattr(module, "__path__", ()), root + "."):
        if not each.name.startswith("syncer.image") and not each.name.endswith("__main__"):
            importlib.import_module(each.name)
found = {}
for name in set(sys.modules) - before:
    top = sys.modules.get(name.partition(".")[0])
    paths = [*getattr(top, "__path__", ())] or [getattr(top, "__file__", None)]
    if paths[0]:
        found[name.partition(".")[0]] = [paths, hasattr(top, "__path__")]
json.dump(found, sys.stdout)
"""


def interpreter() -> Contents:
    """The running Python without its test suite and graphical parts, its shared libraries, a user and a ``/tmp``."""
    stdlib = Path(os.__file__).parent
    folder = f"{PREFIX}/{sys.platlibdir}/{stdlib.name}"
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    files: Contents = {PYTHON: executable, **tree(stdlib, folder)}
    files |= libraries([executable, *(path for path in files.values() if isinstance(path, Path))])
    files["etc/passwd"] = b"root:x:0:0:root:/:/sbin/nologin\nkcp:x:65532:65532:kcp:/tmp:/sbin/nologin\n"
    files["etc/group"] = b"root:x:0:\nkcp:x:65532:\n"
    files["tmp/.keep"] = b""
    return files


def application(*roots: str) -> Contents:
    """Packages ``roots`` (all of their modules) and every other package that importing them loads.

    Found by importing them in a process of its own: metadata of distributions names packages that are never used.
    """
    outcome = subprocess.run(
        [sys.executable, "-c", _LIST_IMPORTS, *roots], capture_output=True, text=True, timeout=60, check=False
    )
    if outcome.returncode:
        last = outcome.stderr.strip().splitlines()[-1:]
        raise ImageError(f"importing {', '.join(roots)} failed: {''.join(last)}")
    loaded: Mapping[str, tuple[list[str], bool]] = json.loads(outcome.stdout)
    files: Contents = {}
    for name, (paths, is_package) in sorted(loaded.items()):
        path = Path(paths[0])
        if name in sys.stdlib_module_names or name.startswith("__"):
            continue
        parts = [root for root in roots if root.startswith(f"{name}.")]
        if parts:  # only a part of this package is wanted
            files[f"{APPLICATION}/{name}/__init__.py"] = path / "__init__.py"
            for part in parts:
                below = part.split(".")[1:]
                source, target = path.joinpath(*below), "/".join([APPLICATION, name, *below])
                module = source.with_suffix(".py")
                files |= {f"{target}.py": module} if module.is_file() else tree(source, target)
        elif is_package:
            for folder in paths:  # of a namespace several
                files |= tree(Path(folder), f"{APPLICATION}/{name}")
        else:
            files[f"{APPLICATION}/{path.name}"] = path
    return files


def distribution(name: str, version: str) -> Contents:
    """What ``importlib.metadata.version(name)`` reads."""
    note = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    return {f"{APPLICATION}/{name}-{version}.dist-info/METADATA": note}


def tree(source: Path, target: str) -> Contents:
    """All files below folder ``source``, but what is left out of any image, as files below ``target``."""
    files: Contents = {}
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not _left_out(name))
        for name in sorted(names):
            path = Path(folder, name)
            if not _left_out(name) and path.is_file():
                files[f"{target}/{path.relative_to(source)}"] = path
    return files


def libraries(files: Iterable[Path]) -> Contents:
    """Shared libraries that the ELF files among ``files`` need, and the loader, as ldd finds them.

    Those that a package carries itself are found beside it in the image too, and are not repeated.
    """
    carried = {path.resolve() for path in files}
    found: Contents = {}
    output = _ldd([path for path in carried if _is_elf(path)])
    missing = sorted({line.split()[0] for line in output if "not found" in line})
    if missing:
        raise ImageError(f"shared libraries are missing on this machine: {', '.join(missing)}")
    for line in output:
        name, arrow, rest = line.strip().partition(" => ")
        if arrow:
            path = Path(rest.rpartition(" (")[0])
            if path.is_absolute() and path.resolve() not in carried:
                found[f"{LIBRARIES}/{name}"] = path
                _add_siblings(found, path)
        elif name.startswith("/") and " (" in name:  # the loader: its place is written into every program
            path = Path(name.rpartition(" (")[0])
            found[str(path).lstrip("/")] = path
    return found


def _add_siblings(found: Contents, libc: Path) -> None:
    if libc.name == "libc.so.6":
        for name in _LOADED_AT_RUN_TIME:
            if (libc.parent / name).exists():
                found[f"{LIBRARIES}/{name}"] = libc.parent / name


def _ldd(files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    try:
        outcome = subprocess.run(["ldd", *sorted(files)], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        raise ImageError(
            f"ldd, which tells what shared libraries are needed, cannot be run: {error.strerror}"
        ) from error
    return outcome.stdout.splitlines()


@functools.cache
def _left_out(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
