"""What a worker is told survives the file that it is told in."""

from __future__ import annotations

import stat
from pathlib import Path

from proxy.server.settings import Limits, ServerSettings, ShardSettings

SETTINGS = ServerSettings(
    bind_address="::",
    port=6443,
    cert_file="tls.crt",
    key_file="tls.key",
    external_url="https://kcp.test:6443",
    shards=(ShardSettings("a", "a.kubeconfig"), ShardSettings("b", "b.kubeconfig")),
    client_ca_file="ca.crt",
    token_files=("admin.csv", "more.csv"),
    verbosity=4,
    limits=Limits(body=5, idle_timeout=1.5),
)


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    SETTINGS.write(file)
    assert ServerSettings.read(file) == SETTINGS


def test_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    file.write_text("old")
    file.chmod(0o644)
    SETTINGS.write(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]
