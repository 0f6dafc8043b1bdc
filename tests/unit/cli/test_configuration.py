"""Configuration files of `kcp start` and `kcp syncer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

from proxy.cli.config import COMMANDS
from proxy.cli.kcp import main
from proxy.cli.start import start


def _given(*arguments: str) -> dict[str, Any]:
    """What `kcp start` would be called with."""
    return start.make_context("start", list(arguments)).params


def _file(folder: Path, text: str) -> Path:
    file = folder / "kcp.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", COMMANDS)
def test_the_defaults_are_what_holds_without_a_file(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "print-defaults", "--for", name])
    assert result.exit_code == 0
    file = _file(tmp_path, result.output)
    command = COMMANDS[name]
    assert command.make_context(name, ["--config", str(file)]).params == command.make_context(name, []).params
    flags = {max(option.opts, key=len).lstrip("-") for option in command.params if isinstance(option, click.Option)} - {
        "config"
    }
    keys = {line.removeprefix("# ").partition(":")[0] for line in result.output.splitlines()}
    assert flags <= keys
    checked = CliRunner().invoke(main, ["config", "check", str(file), "--for", name])
    assert (checked.exit_code, checked.output) == (
        0,
        f"{file}: {len(yaml.safe_load(file.read_text()))} values for kcp {name}\n",
    )


def test_values_of_every_type(tmp_path: Path) -> None:
    text = """
bind-address: 127.0.0.1
secure-port: 7443
embedded: false
shard: [eu=eu.kubeconfig, us=us.kubeconfig]
oidc-required-claim: team=a
root-directory: 0010
metrics-bind-address: off
workers:
"""
    params = _given("--config", str(_file(tmp_path, text)))
    assert params["bind_address"] == "127.0.0.1"
    assert params["secure_port"] == 7443
    assert params["embedded"] is False
    assert params["shards"] == ("eu=eu.kubeconfig", "us=us.kubeconfig")
    assert params["oidc_required_claim"] == ("team=a",)
    assert params["root_directory"] == Path("0010")
    assert params["metrics_bind_address"] == "off"
    assert params["workers"] is None


def test_flags_count_more_than_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, "secure-port: 7443\nembedded: false\nshard: [eu=a]\nlog-requests: true\n")
    before = _given("--secure-port", "8443", "--embedded", "--shard", "us=b", "--config", str(file))
    behind = _given("--config", str(file), "--secure-port", "8443", "--embedded", "--shard", "us=b")
    for params in (before, behind):
        assert params["secure_port"] == 8443
        assert params["embedded"] is True
        assert params["shards"] == ("us=b",)
        assert params["log_requests"] is True


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("secure-prt: 1", "line 1: there is no secure-prt; secure-port?"),
        ("bindAddress: ::1", "line 1: there is no bindAddress; bind-address?"),
        ("config: other.yaml", "line 1: there is no config"),
        ("\nsecure-port: 0", "line 2: secure-port: 0 is not in the range 1<=x<=65535."),
        ("secure-port: many", "line 1: secure-port: 'many' is not a valid integer range."),
        ("secure-port: [1, 2]", "line 1: secure-port: takes one value, not a list"),
        ("secure-port: true", "line 1: secure-port: 'true' is not a valid integer range."),
        ("log-format: xml", "line 1: log-format: 'xml' is not one of "),
        ("embedded: maybe", "line 1: embedded: 'maybe' is not a valid boolean"),
        ("shard: [{eu: a}]", "line 1: shard: wanted a value or a list of values"),
        ("token-auth-file: /none", "line 1: token-auth-file: File '/none' does not exist."),
        ("secure-port: 1\nsecure-port: 2", "line 2: secure-port is there twice"),
        ("- secure-port", "wanted a mapping of flags to values"),
        ("secure-port: {a: b}", "line 1: secure-port: wanted a value or a list of values"),
        ("secure-port: [", "cannot be read: "),
        ("a: 1\n---\nb: 2", "cannot be read: "),
        ("\x00", "cannot be read: "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(text: str, said: str, tmp_path: Path) -> None:
    file = _file(tmp_path, text)
    for arguments in (["start", "--config", str(file)], ["config", "check", str(file)]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 1
        [line] = result.output.splitlines()
        assert line.startswith(f"Error: {file}")
        assert said in line
