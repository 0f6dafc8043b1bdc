"""How much `kubectl ws` does: a plugin is over in a tenth of a second, most of it imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cli.ws import COMMANDS
from proxy.cli.ws_commands import ws
from tests.unit.cli.stub_server import answer, stub

RUN = """
import sys
from proxy.cli.ws import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""
HEAVY = {
    "aiohttp", "asyncio", "click", "dataclasses", "email", "http", "inspect", "rich", "subprocess", "tempfile", "uuid",
}  # fmt: skip
CONNECTING = {"ssl", "socket", "httptools"}
TABLE = {"kind": "Table", "columnDefinitions": [{"name": "Name"}], "rows": [{"cells": ["team-a"]}]}


def run(folder: Path, server: str, *words: str) -> tuple[str, set[str]]:
    """What the program prints, and all that it imports."""
    kubeconfig = folder / "kubeconfig"
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    config = {
        "current-context": "here",
        "contexts": [context],
        "clusters": [{"name": "here", "cluster": {"server": f"{server}/clusters/root:org"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
    }
    kubeconfig.write_text(json.dumps(config))
    # Without what site imports here and elsewhere not.
    path = os.pathsep.join(entry for entry in [os.getcwd(), *sys.path] if entry)
    done = subprocess.run(
        [sys.executable, "-S", "-c", RUN, *words],
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize(
    ("words", "asks", "prints"),
    [
        ([], [], 'Current workspace is "root:org".\n'),
        (["."], [], 'Current workspace is "root:org".\n'),
        ([".."], [], 'Current workspace is "root".\n'),
        (["root:a"], ["/clusters/root:a/version"], 'Current workspace is "root:a".\n'),
        (["list"], ["/clusters/root:org/apis/tenancy.kcp.dev/v1beta1/workspaces"], "NAME\nteam-a\n"),
    ],
    ids=["nothing", "here", "up", "path", "list"],
)
def test_what_is_typed_all_day_takes_little(tmp_path: Path, words: list[str], asks: list[str], prints: str) -> None:
    with stub(*(answer(json.dumps(TABLE).encode()) for _ in asks)) as server:
        printed, modules = run(tmp_path, server.url, *words)
        assert printed == prints
        assert [request.split()[1].decode() for request in server.requests] == asks
        assert server.connections == len(asks)
    assert not modules & HEAVY
    assert modules >= CONNECTING if asks else not modules & CONNECTING
    assert len(modules) < (140 if asks else 120)


def test_click_is_asked_for_the_rest(tmp_path: Path) -> None:
    _, modules = run(tmp_path, "http://127.0.0.1:1", "current", "--short")
    assert "click" in modules
    assert not modules & CONNECTING


def test_the_program_knows_what_is_a_command() -> None:
    assert set(ws.commands) == COMMANDS
