"""The syncer's command line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from proxy.kube.config import ConfigError
from syncer.main import duration, main, workspace_connection


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60.0), ("1m30s", 90.0), ("250ms", 0.25), ("1.5h", 5400.0), ("20s", 20.0)]
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "m", "1x", "1m ", "-1m", "1m 30s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        duration(text)


def kubeconfig(folder: Path, server: str) -> str:
    path = folder / "kubeconfig"
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_the_kubeconfig_must_be_for_the_workspace(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "https://kcp:6443/clusters/root:a")
    assert workspace_connection(path, "root:a").server == "https://kcp:6443/clusters/root:a"
    with pytest.raises(ConfigError, match="is for workspace root:a, not for root:b"):
        workspace_connection(path, "root:b")


def arguments(path: str) -> list[str]:
    return [
        f"--from-kubeconfig={path}", "--from-cluster=root:b", "--workload-cluster-name=east", "--resources=configmaps",
    ]  # fmt: skip


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, "https://kcp:6443/clusters/root:a")
    for given, words in ((path, "is for workspace root:a"), (str(tmp_path / "none"), "No such file")):
        result = CliRunner().invoke(main, arguments(given))
        assert result.exit_code == 1
        assert words in result.output
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1


def test_what_must_be_given() -> None:
    result = CliRunner().invoke(main, ["--from-cluster=root:a"])
    assert result.exit_code == 2
    assert "Missing option" in result.output


def test_of_one_workspace_or_of_many() -> None:
    result = CliRunner().invoke(main, ["--from-secrets=kcp-syncer", "--from-cluster=root:a"])
    assert result.exit_code == 2
    assert "--from-cluster is of one workspace, --from-secrets of many" in result.output
