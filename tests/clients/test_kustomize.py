"""kustomize as a program of its own: what it builds is applied to both sides."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

from tests.clients import same
from tests.clients.programs import program
from tests.clients.side import Side, Sides
from tests.clients.transcript import FOLDER


async def _play(side: Side) -> tuple[list[str], Any]:
    tree = side.folder / "tree"
    shutil.copytree(FOLDER / "files" / "kustomize", tree)
    overlay = tree / "overlay" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("NAMESPACE", "kustomized"))
    await side.kubectl("create", "namespace", "kustomized")
    printed = []
    for edit in ((), ("edit", "set", "namesuffix", "--", "-b"), ("edit", "add", "label", "region:north", "-f")):
        if edit:
            done = await replace(side, folder=overlay.parent).run(program("kustomize"), *edit)
            assert done.code == 0, done.text
        built = await side.run(program("kustomize"), "build", str(tree / "overlay"))
        assert built.code == 0, built.text
        prune = ("--prune", "-l", "season=winter", "--prune-allowlist=core/v1/ConfigMap")
        printed.append(await side.kubectl("apply", *prune, "-f", "-", stdin=built.out))
    kinds = "configmaps,secrets,serviceaccounts,roles,rolebindings"
    return printed, same.obj(await side.get(kinds, "-n", "kustomized", "-l", "season=winter"))


async def test_kustomize(sides: Sides) -> None:
    program("kustomize")
    _, objects = await sides.same(_play)
    assert len(objects["items"]) == 10
