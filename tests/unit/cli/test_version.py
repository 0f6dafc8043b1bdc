"""How kcp tells which release it is."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from proxy.binaries.find import ETCD, KUBERNETES
from proxy.cli.kcp import main
from proxy.release import own_version


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["--version", "start", "--nonsense"]])
def test_a_line_for_people(arguments: list[str]) -> None:
    said = CliRunner().invoke(main, arguments)
    assert (said.exit_code, said.output) == (0, f"kcp {own_version()} (Kubernetes {KUBERNETES}, etcd {ETCD})\n")


def test_json_for_programs() -> None:
    said = CliRunner().invoke(main, ["version", "-o", "json"])
    assert json.loads(said.output) == {"kcp": own_version(), "kubernetes": KUBERNETES, "etcd": ETCD}
