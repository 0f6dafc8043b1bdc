"""What is made of pip-audit's word, and of an index that has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import vulnerable
from tests.clusters.system import REPOSITORY

GOOD = {"name": "click", "version": "8.3.0", "vulns": []}
BAD = {
    "name": "jinja2", "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2019-220", "fix_versions": ["2.8.1", "2.10"], "aliases": [], "description": "…"}],
}  # fmt: skip
UNFIXED = {"name": "x", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"}
"""As pip-audit 2.10 prints them."""


def run(monkeypatch: pytest.MonkeyPatch, *packages: Any, why: str = "") -> int:
    monkeypatch.setattr(vulnerable, "told", lambda: why)
    monkeypatch.setattr(vulnerable, "ask", lambda files: json.dumps({"dependencies": packages, "fixes": []}))
    return vulnerable.main([])


def test_a_vulnerable_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, GOOD, BAD, UNFIXED) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["jinja2 2.4.1: PYSEC-2019-220, fixed in 2.8.1, 2.10", "x 1: PYSEC-1, not fixed yet"]


def test_nothing_is_said_where_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, GOOD) == 0
    assert capsys.readouterr() == ("", "")


def test_what_could_not_be_asked_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, GOOD, UNKNOWN) == 0
    assert capsys.readouterr().out == "Not audited, as the index does not know them: ours\n"
    assert run(monkeypatch, BAD, why="HTTP Error 404: Not Found") == 0
    assert "HTTP Error 404" in capsys.readouterr().out


def test_an_index_that_cannot_be_reached_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vulnerable, "RELEASE", "http://127.0.0.1:9/{}")
    assert "refused" in vulnerable.told()


def test_pip_audit_reads_the_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, with their hashes; it needs no index to say that a file is not there."""
    with pytest.raises(RuntimeError, match="nowhere"):
        vulnerable.ask([Path("nowhere.txt")])
    makefile = (REPOSITORY / "Makefile").read_text()
    assert all(f"requirements/{file.name}" in makefile.partition("tests.vulnerable")[2] for file in _pinned())


def _pinned() -> list[Path]:
    return list((REPOSITORY / "requirements").glob("*.txt"))
