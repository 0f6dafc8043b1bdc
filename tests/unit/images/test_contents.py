"""What goes into images: an interpreter that starts without the rest of this machine, and no more than is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from syncer.image.build import SYNCER, stage
from syncer.image.contents import (
    APPLICATION,
    ENVIRONMENT,
    LIBRARIES,
    PYTHON,
    application,
    distribution,
    interpreter,
    libraries,
    tree,
)
from syncer.image.errors import ImageError


def test_the_interpreter_brings_its_libraries_and_loader() -> None:
    files = interpreter()
    names = {Path(path).name for path in files if path.startswith(LIBRARIES + "/")}
    assert PYTHON in files
    if sys.platform == "linux" and any(name.startswith("libc.") for name in names):
        assert any(name.startswith("libcrypto") for name in names)  # module ssl needs it
        assert any(path.startswith("lib") and "ld-" in path for path in files)


def test_the_interpreter_is_trimmed() -> None:
    paths = list(interpreter())
    assert not [path for path in paths if "/test/" in path or "/idlelib/" in path or path.endswith(".pyc")]
    assert [path for path in paths if path.endswith("/asyncio/base_events.py")]
    assert not [path for path in paths if "/site-packages/" in path]


def test_the_application_is_what_it_imports() -> None:
    files = application(*SYNCER)
    tops = {path.split("/")[1] for path in files}
    assert {"syncer", "proxy", "aiohttp", "orjson", "yaml", "click"} <= tops
    assert not tops & {"cryptography", "rich", "pytest", "json", "pip", "setuptools", "_distutils_hack"}
    ours = {path for path in files if path.startswith(f"{APPLICATION}/proxy/")}
    alone = {f"{APPLICATION}/proxy/{name}.py" for name in ("__init__", "logs", "release")}
    assert alone < ours
    assert all(path.startswith(f"{APPLICATION}/proxy/kube/") for path in ours - alone)


def test_a_package_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(ImageError, match="no_such_package"):
        application("no_such_package")


def test_tree_leaves_out_what_is_not_needed(tmp_path: Path) -> None:
    for name in ("a.py", "a.pyc", "tests/x.py", "sub/b.py", "sub/__pycache__/b.pyc", "_testthing.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert set(tree(tmp_path, "here")) == {"here/a.py", "here/sub/b.py"}


def test_no_libraries_for_what_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    assert libraries([tmp_path / "text"]) == {}


@pytest.mark.skipif(not hasattr(os, "chroot") or os.geteuid() != 0, reason="needs root to change the root folder")
def test_it_runs_with_nothing_else_around_it(tmp_path: Path) -> None:
    program = application(*SYNCER) | distribution("kcp", "1.2.3")
    needed = libraries(path for path in program.values() if isinstance(path, Path))
    stage(interpreter() | needed | program, tmp_path)
    tmp_path.chmod(0o755)
    code = "import ssl, sqlite3, ctypes, socket, syncer.main; print(ssl.create_default_context() and 'fine')"
    code += "; import syncer.metrics; print(syncer.metrics.own_version())"

    def enter() -> None:
        os.chroot(tmp_path)
        os.chdir("/")
        os.setgid(65532)
        os.setuid(65532)

    outcome = subprocess.run(
        [f"/{PYTHON}", "-c", code], env=ENVIRONMENT, preexec_fn=enter, capture_output=True, text=True, check=False
    )
    assert (outcome.stdout, outcome.stderr) == ("fine\n1.2.3\n", "")
