"""kubectl of five releases: each prints in a workspace, word for word, what it prints on a cluster."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.shard.pki import Authority, private_folder
from tests.clients.natives import import_natives
from tests.clients.programs import program
from tests.clients.side import Side, Sides
from tests.clients.transcript import Printed, play

VERSIONS = ("1.32", "1.33", "1.34", "1.35", "1.36")
CHAPTERS = ("generators", "objects", "output", "rights", "custom", "workloads", "kustomize")
BETWEEN = ("essentials", "objects", "custom")
"""For releases that are neither the oldest nor the newest: what the other chapters show at length, ``essentials`` has
in a line for each thing."""


def _certificate(sides: Sides, folder: Path) -> None:
    """For a secret of type tls."""
    pair = Authority(private_folder(folder / "pki"), "shop").server("shop", ["shop.example.com"])
    for side in (sides.plain, sides.workspace):
        shutil.copy(pair.cert_file, side.folder / "tls.crt")
        shutil.copy(pair.key_file, side.folder / "tls.key")


@pytest.mark.parametrize("version", VERSIONS)
async def test_kubectl(sides: Sides, version: str, tmp_path: Path) -> None:
    kubectl = program(f"kubectl-{version}")
    number = version.replace(".", "")
    chapters = CHAPTERS if version in (VERSIONS[0], VERSIONS[-1]) else BETWEEN
    _certificate(sides, tmp_path)
    async with Client(load_kubeconfig(sides.workspace.kubeconfig)) as client:
        await import_natives(client)

    async def scenario(side: Side) -> list[Printed]:
        printed = await asyncio.gather(*(play(side, name, kubectl, number) for name in chapters))
        return [step for steps in printed for step in steps]

    await sides.same(scenario)
