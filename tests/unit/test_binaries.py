"""Where programs are looked for, in which order, and what is said when they are nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.binaries import BinaryError, find
from proxy.binaries.find import NAMES, VERSIONS, cache_folder
from proxy.binaries.releases import CHECKSUMS


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("KCP_BIN_DIR", "KUBEBUILDER_ASSETS", "KCP_ETCD"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


def program(path: Path, version: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho version {version}\n")
    path.chmod(0o755)
    return path


def test_order_is_environment_then_path_then_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cached = program(cache_folder() / "etcd", "3.6.15")
    assert find("etcd") == cached
    on_path = program(tmp_path / "path" / "etcd", "3.6.1")
    assert find("etcd") == on_path
    assets = program(tmp_path / "assets" / "etcd", "3.5.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets.parent))
    assert find("etcd") == assets
    own = program(tmp_path / "own-etcd", "9.9.9")
    monkeypatch.setenv("KCP_ETCD", str(own))
    assert find("etcd") == own


def test_another_minor_release_on_path_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "path" / "etcd", "3.4.30")
    with pytest.raises(BinaryError, match="not found"):
        find("etcd")


def test_missing_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(BinaryError) as caught:
        find("kubelet")
    assert "kcp binaries fetch kubelet" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(BinaryError, match="docker is none of the programs"):
        find("docker")


def test_every_pinned_checksum_belongs_to_a_program_of_ours() -> None:
    assert set(CHECKSUMS) <= set(NAMES) == set(VERSIONS)
    assert all(len(value) == 64 for sums in CHECKSUMS.values() for value in sums.values())
