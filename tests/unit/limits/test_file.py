"""The file with limits of single workspaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.limits.file import LimitsFile, LimitsFileError, read_limits
from proxy.limits.values import WorkspaceLimits

DEFAULT = WorkspaceLimits()


def written(folder: Path, text: str) -> Path:
    file = folder / "limits.yaml"
    file.write_text(text)
    return file


def test_the_first_that_names_it_counts(tmp_path: Path) -> None:
    text = "workspaces:\n- paths: [root:a, 'root:b:*']\n  watches: 7\n- paths: ['*']\n  shares: 2\n  watches: 0\n"
    limits = LimitsFile(written(tmp_path, text))
    assert limits.of("root:a", DEFAULT) == WorkspaceLimits(watches=7)
    assert limits.of("root:b:c:d", DEFAULT) == WorkspaceLimits(watches=7)
    assert limits.of("root:b", DEFAULT) == WorkspaceLimits(watches=0, shares=2)


def test_nothing_in_it(tmp_path: Path) -> None:
    assert LimitsFile(written(tmp_path, "")).of("root", DEFAULT) == DEFAULT


def test_it_changes(tmp_path: Path) -> None:
    limits = LimitsFile(written(tmp_path, "workspaces: []"))
    assert not limits.refresh()
    written(tmp_path, "workspaces: [{paths: [root], watches: 1}]")
    assert limits.refresh()
    assert limits.of("root", DEFAULT).watches == 1
    written(tmp_path, "workspaces: [{paths: [root], watches: many}]")
    assert not limits.refresh()
    (tmp_path / "limits.yaml").unlink()
    assert not limits.refresh()
    assert limits.of("root", DEFAULT).watches == 1, "what was good is good"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [", "cannot be read"),
        ("[]", "wanted the one key workspaces"),
        ("workspaces: 1", "workspaces: wanted a list"),
        ("workspaces: [1]", r"workspaces\[0\]: wanted a mapping"),
        ("workspaces: [{watches: 1}]", r"workspaces\[0\].paths: wanted a list of paths"),
        ("workspaces: [{paths: ['a*b']}]", "a \\* may stand at the end alone"),
        ("workspaces: [{paths: [a], watchs: 1}]", "there is no watchs; watches\\?"),
        ("workspaces: [{paths: [a], watches: -1}]", r"\.watches: wanted a whole number from 0"),
        ("workspaces: [{paths: [a], watches: true}]", "wanted a whole number"),
        ("workspaces: [{paths: [a], shares: 0}]", "wanted a whole number from 1"),
    ],
)
def test_faults_have_a_place(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(LimitsFileError, match=fault) as error:
        read_limits(written(tmp_path, text))
    assert "limits.yaml" in str(error.value)
    assert "\n" not in str(error.value)
