"""That secrets in logs would be found."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.shard.pki import Authority
from tests.leaks import keep, leaks, secrets_of


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Not there any more when everything is looked at in the end."""
    pair = Authority(tmp_path, "some").client("admin", user="a")
    data = base64.b64encode(pair.key).decode()
    users = [{"name": "a", "user": {"token": "token-of-a"}}, {"name": "b", "user": {"client-key-data": data}}]
    (tmp_path / "admin.kubeconfig").write_text(yaml.safe_dump({"users": users}))
    (tmp_path / "tokens.csv").write_text('other-token,admin,admin,"system:masters"\n')
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "kcp.log").write_text("all is well with admin, a and system:masters\n")
    (tmp_path / "token").write_text("scrapers-token\n")
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_nothing_is_found_in_clean_logs(folder: Path) -> None:
    assert len(secrets_of(folder)) >= 6
    assert leaks(folder) == []


@pytest.mark.parametrize("name", ["log/kcp.log", "log/worker-0.log.1", "audit.log", "log/anything"])
def test_each_kind_of_secret_is_found(folder: Path, name: str) -> None:
    key = (folder / "admin.key").read_text()
    claims = base64.urlsafe_b64encode(b'{"sub":"x","aud":["y"]}').decode().rstrip("=")
    token = f"{'eyJhbGciOiJFUzI1NiJ9'}.{claims}.{'c2lnbmF0dXJlLXNpZ25hdHVyZQ'}"
    for secret in ("token-of-a", "other-token", "scrapers-token", key, "".join(key.split("-----")[2].split()), token):
        (folder / name).write_text(f"it was {secret}\n")
        found = leaks(folder)
        assert found, secret
        assert all(secret not in line for line in found)


def test_what_is_removed_is_kept(folder: Path) -> None:
    kept = folder / "kept"
    kept.mkdir()
    pod = folder / "var_log" / "pods" / "p" / "0.log"
    image = folder / "var_lib" / "x.log"
    for file in (pod, image):
        file.parent.mkdir(parents=True)
        file.write_text("fine\n")
    keep(folder, kept)
    keep(folder, kept)
    with pod.open("a") as log:
        log.write("it was token-of-a\n")
    for file in (pod, folder / "admin.kubeconfig"):
        file.unlink()
    [leak] = leaks(kept)
    assert "0.log has a secret" in leak
    assert not list(kept.glob("*x.log*"))
