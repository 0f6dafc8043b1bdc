"""Layers and archives: what is in them, and that the same contents give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from syncer.image.archive import ImageConfig, write_archive, write_layer
from syncer.image.build import Builder, fingerprint, full_name, stage
from syncer.image.contents import Contents
from syncer.image.errors import ImageError

FILES: Contents = {
    "app/module.py": b"X = 1\n",
    "usr/local/bin/start": b"#!/usr/local/bin/python3\n",
    "tmp/.keep": b"",
}


def unpack(archive: Path) -> tuple[dict[str, bytes], Any]:
    """Files of an archive and its image's manifest, every digest and size checked on the way."""
    with tarfile.open(archive) as tar:
        files = {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]
    index = json.loads(files["index.json"])

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files["blobs/" + descriptor["digest"].replace(":", "/")]
        assert len(data) == descriptor["size"]
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        return data

    manifest = json.loads(blob(index["manifests"][0]))
    manifest["config"] = json.loads(blob(manifest["config"]))
    manifest["layers"] = [gzip.decompress(blob(each)) for each in manifest["layers"]]
    manifest["name"] = index["manifests"][0]["annotations"]["io.containerd.image.name"]
    return files, manifest


def test_an_archive_holds_what_its_descriptors_say(tmp_path: Path) -> None:
    stage(FILES, tmp_path / "root")
    layer = write_layer(tmp_path / "root", tmp_path / "layer.tar.gz")
    config = ImageConfig(entrypoint=["/usr/local/bin/start"], environment={"B": "2", "A": "1"})
    write_archive(tmp_path / "image.tar", tag="localhost/it:1", layers=[layer], config=config)
    files, manifest = unpack(tmp_path / "image.tar")
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert manifest["name"] == "localhost/it:1"
    settings = manifest["config"]["config"]
    assert settings["Entrypoint"] == ["/usr/local/bin/start"]
    assert settings["User"] == "65532:65532"
    assert settings["Env"] == ["A=1", "B=2"]
    inner = manifest["layers"][0]
    assert manifest["config"]["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(inner).hexdigest()]
    legacy = json.loads(files["manifest.json"])[0]
    assert legacy["RepoTags"] == ["localhost/it:1"]
    assert set(legacy["Layers"]) <= set(files)


def test_modes_and_owners_in_a_layer(tmp_path: Path) -> None:
    stage(FILES, tmp_path / "root")
    (tmp_path / "root" / "app" / "module.py").chmod(0o600)
    (tmp_path / "root" / "link").symlink_to("app/module.py")
    write_layer(tmp_path / "root", tmp_path / "layer.tar.gz")
    with tarfile.open(tmp_path / "layer.tar.gz") as tar:
        members = {member.name: member for member in tar.getmembers()}
    assert members["usr/local/bin/start"].mode == 0o755
    assert members["app/module.py"].mode == 0o644
    assert members["app"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert (members["link"].issym(), members["link"].linkname) == (True, "app/module.py")
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_same_contents_same_bytes_whenever_and_wherever(tmp_path: Path) -> None:
    for name in ("one", "two"):
        stage(FILES, tmp_path / name)
        os.utime(tmp_path / name / "app" / "module.py", (1, hash(name) % 10**9))
    one = write_layer(tmp_path / "one", tmp_path / "1")
    two = write_layer(tmp_path / "two", tmp_path / "2")
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert (one.digest, one.diff_id) == (two.digest, two.diff_id)


def test_modules_are_compiled_and_need_no_times(tmp_path: Path) -> None:
    stage(FILES, tmp_path / "root")
    (compiled,) = (tmp_path / "root" / "app" / "__pycache__").iterdir()
    assert compiled.read_bytes()[4:8] == b"\x01\x00\x00\x00"  # PEP 552: by hash, not checked against the source


def test_a_layer_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    builder = Builder(tmp_path / "cache")
    files: Contents = {"file": source}
    first = builder.layer(files)
    written = first.path.stat().st_mtime_ns
    assert builder.layer(files) == first
    assert first.path.stat().st_mtime_ns == written
    source.write_text("another")
    assert builder.layer(files).diff_id != first.diff_id


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    builder = Builder(tmp_path / "cache")
    first = builder.layer(FILES)
    first.path.write_bytes(b"cut short")
    again = builder.layer(FILES)
    assert again == first
    assert hashlib.sha256(again.path.read_bytes()).hexdigest() == again.digest.removeprefix("sha256:")
    next((tmp_path / "cache").glob("*.json")).write_text("{")
    assert builder.layer(FILES) == first


def test_fingerprints_see_every_difference(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("one")
    prints = {
        fingerprint({"a": source}),
        fingerprint({"b": source}),
        fingerprint({"a": b"one"}),
        fingerprint({"a": b"two"}),
        fingerprint({"a": b"one", "b": b""}),
    }
    source.chmod(0o755)
    prints.add(fingerprint({"a": source}))
    assert len(prints) == 6


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("localhost/it:dev", "localhost/it:dev"),
        ("localhost/it", "localhost/it:latest"),
        ("localhost:5000/it", "localhost:5000/it:latest"),
    ],
)
def test_full_name(given: str, name: str) -> None:
    assert full_name(given) == name


@pytest.mark.parametrize("given", ["", "Upper/case:1", "two words", "it:", "it/"])
def test_what_is_no_image_name(given: str) -> None:
    with pytest.raises(ImageError, match="not the name of an image"):
        full_name(given)


def test_an_archive_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    stage(FILES, tmp_path / "root")
    layer = write_layer(tmp_path / "root", tmp_path / "layer.tar.gz")
    layer.path.unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="layer"):
        write_archive(tmp_path / "out" / "image.tar", tag="it:1", layers=[layer], config=ImageConfig(entrypoint=["/x"]))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_layer_is_a_plain_tar_inside(tmp_path: Path) -> None:
    layer = Builder(tmp_path).layer(FILES)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer.path.read_bytes()))) as tar:
        assert "app/module.py" in tar.getnames()
