"""The folder of `kcp start`."""

from __future__ import annotations

import asyncio
import datetime
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.auth.tokenfile import digest, parse
from proxy.cli.home import Home, HomeError, external_host, serving_hosts, split_address, write_admin_kubeconfig
from proxy.kube.config import load_kubeconfig
from proxy.shard import pki
from tests.integration.eventually import eventually


def test_one_kcp_at_a_time(tmp_path: Path) -> None:
    home = Home(tmp_path / "x")
    with pytest.raises(HomeError, match=r"x is in use by another kcp \(process \d+\)"):
        Home(tmp_path / "x")
    home.close()
    Home(tmp_path / "x").close()


def test_folder_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "deep" / "x")
    home.admin_token()
    assert stat.S_IMODE(home.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(home.tokens_file.stat().st_mode) == 0o600
    home.close()


def test_folder_that_everybody_can_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(HomeError, match="writable by everybody"):
        Home(tmp_path)


def test_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(HomeError, match="x: File exists"):
        Home(tmp_path / "x")


def test_token_is_kept_and_means_administrator(tmp_path: Path) -> None:
    home = Home(tmp_path / "x")
    token = home.admin_token()
    assert home.admin_token() == token
    user = parse(home.tokens_file.read_text(), "x")[digest(token.encode())]
    assert (user.name, "system:masters" in user.groups) == ("admin", True)
    home.close()


def test_tokens_that_people_added_stay(tmp_path: Path) -> None:
    home = Home(tmp_path / "x")
    home.tokens_file.write_text("secret,alice,1\n")
    token = home.admin_token()
    assert home.admin_token() == token
    assert home.tokens_file.read_text().startswith("secret,alice,1\n")
    home.close()


def kubeconfig(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def test_kubeconfig(tmp_path: Path) -> None:
    path = tmp_path / "admin.kubeconfig"
    write_admin_kubeconfig(path, url="https://h:1", ca=b"CA", token="t")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = kubeconfig(path)
    assert content["current-context"] == "default"
    assert [context["name"] for context in content["contexts"]] == ["root", "default", "system:admin"]
    connections = {name: load_kubeconfig(path, name) for name in ("root", "default", "system:admin")}
    assert connections["root"].server == "https://h:1/clusters/root"
    assert connections["default"].server == "https://h:1/clusters/root:default"
    assert connections["system:admin"].server == "https://h:1"
    assert {(c.ca_data, c.token) for c in connections.values()} == {(b"CA", "t")}


def test_kubeconfig_keeps_where_people_were(tmp_path: Path) -> None:
    path = tmp_path / "admin.kubeconfig"
    write_admin_kubeconfig(path, url="https://old:1", ca=b"OLD", token="t")
    content = kubeconfig(path)
    mine = {"server": "https://old:1/clusters/root:mine", "certificate-authority-data": "T0xE"}
    content["clusters"] += [
        {"name": "workspace.kcp.dev/current", "cluster": mine},
        {"name": "elsewhere", "cluster": {"server": "https://old:12/clusters/x"}},
    ]
    content["contexts"] += [
        {"name": "workspace.kcp.dev/current", "context": {"cluster": "workspace.kcp.dev/current", "user": "admin"}}
    ]
    content["current-context"] = "workspace.kcp.dev/current"
    path.write_text(yaml.safe_dump(content))

    write_admin_kubeconfig(path, url="https://new:2", ca=b"NEW", token="t2")
    current = load_kubeconfig(path)
    assert (current.server, current.ca_data, current.token) == ("https://new:2/clusters/root:mine", b"NEW", "t2")
    clusters = {entry["name"]: entry["cluster"]["server"] for entry in kubeconfig(path)["clusters"]}
    assert clusters["elsewhere"] == "https://old:12/clusters/x", "another server's address only begins alike"
    assert clusters["root"] == "https://new:2/clusters/root"


@pytest.mark.parametrize("content", ["", "- a", "{", "clusters: 3", "contexts: [1]", "users: [{}]", "\x00"])
def test_spoilt_kubeconfig_is_made_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "admin.kubeconfig"
    path.write_text(content)
    write_admin_kubeconfig(path, url="https://h:1", ca=b"CA", token="t")
    assert load_kubeconfig(path).server == "https://h:1/clusters/root:default"


def test_current_context_that_does_not_exist_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "admin.kubeconfig"
    path.write_text("current-context: gone\n")
    write_admin_kubeconfig(path, url="https://h:1", ca=b"CA", token="t")
    assert kubeconfig(path)["current-context"] == "default"


def test_serving_names() -> None:
    hosts = serving_hosts("0.0.0.0", "kcp.example.com")  # noqa: S104
    assert {"localhost", "127.0.0.1", "::1", "kcp.example.com"} <= hosts
    assert "0.0.0.0" not in hosts  # noqa: S104
    assert "192.0.2.77" in serving_hosts("192.0.2.77", None)


def test_external_host() -> None:
    assert external_host("0.0.0.0", "kcp.example.com") == "kcp.example.com"  # noqa: S104
    assert external_host("192.0.2.77", None) == "192.0.2.77"
    assert external_host("0.0.0.0", None) not in ("", "0.0.0.0")  # noqa: S104


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("kcp.example.com", ("kcp.example.com", None)),
        ("kcp.example.com:443", ("kcp.example.com", 443)),
        ("192.0.2.1:8443", ("192.0.2.1", 8443)),
        ("::1", ("::1", None)),
        ("2001:db8::7", ("2001:db8::7", None)),
        ("[2001:db8::7]:443", ("2001:db8::7", 443)),
        ("[::1]", ("::1", None)),
    ],
)
def test_external_address(value: str, parts: tuple[str, int | None]) -> None:
    assert split_address(value) == parts


@pytest.mark.parametrize("value", ["https://x", "x:0", "x:65536", "x:", "x y", "[::1", "x:1:2z", "x/y"])
def test_what_is_no_address(value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(value)):
        split_address(value)


async def test_serving_certificate_is_renewed_while_kcp_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "x")
    before = home.serving_certificate({"a", "b"}).cert
    keeping = asyncio.create_task(home.keep_serving_certificate({"b", "a"}, every=0.01))
    await asyncio.sleep(0.1)
    pair = home.serving_certificate({"a", "b"})
    assert pair.cert == before
    now = pki._now()
    monkeypatch.setattr(pki, "_now", lambda: now + datetime.timedelta(days=366))

    async def renewed() -> bool:
        return pair.cert_file.exists() and pair.cert_file.read_bytes() != before and pair.key_file.exists()

    await eventually(renewed)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    home.close()
