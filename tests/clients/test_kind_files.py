"""What is there for kind and for workflows, read by the programs that will read it: no container engine is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import manifests
from proxy.shard.bootstrap import apply_manifests
from proxy.shard.commands import SHARD_ADMISSION_OFF, SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.clients.programs import program
from tests.clusters.system import REPOSITORY

KIND = Path(manifests.__file__).parent / "kind"
NEW, OLD = "kubeadm.k8s.io/v1beta4", "kubeadm.k8s.io/v1beta3"


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def patches(kind: str) -> dict[str, dict[str, Any]]:
    """Of the shard's file, for that kind of kubeadm's configuration, by apiVersion ("": for all)."""
    texts = yaml.safe_load((KIND / "shard.yaml").read_text())["kubeadmConfigPatches"]
    return {each.get("apiVersion", ""): each for each in map(yaml.safe_load, texts) if each["kind"] == kind}


def flags(patch: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Of each component."""
    found = {}
    for name, part in (("etcd", patch["etcd"]["local"]), *((name, patch[name]) for name in COMPONENTS)):
        args = part["extraArgs"]
        found[name] = args if isinstance(args, dict) else {each["name"]: each["value"] for each in args}
    return found


COMPONENTS = ("apiServer", "controllerManager")


@pytest.mark.parametrize("name", ["shard.yaml", "physical.yaml"])
def test_kind_reads_them(name: str, tmp_path: Path) -> None:
    """As far as it goes where there is no Docker to be found; it stops earlier at what it does not understand."""
    create: list[str | Path] = [program("kind"), "create", "cluster", "--config"]
    alone = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    understood = run(*create, KIND / name, env=alone)
    assert understood.returncode == 1
    assert "docker" in understood.stderr
    assert "decode" not in understood.stderr
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text((KIND / name).read_text() + "\nnode: []\n")
    assert "field node not found" in run(*create, wrong, env=alone).stderr


@pytest.mark.parametrize(("subnet", "good"), [(None, True), ("10.0.0.0/8", False)])
def test_kubeadm_takes_the_shards_configuration(subnet: str | None, good: bool, tmp_path: Path) -> None:
    kubeadm = program("kubeadm")
    documents = list(yaml.safe_load_all(run(kubeadm, "config", "print", "init-defaults").stdout))
    for document in documents:
        for version, patch in patches(document["kind"]).items():
            if version in ("", document["apiVersion"]):
                document.update(patch)
        if document["kind"] == "ClusterConfiguration":
            networking = yaml.safe_load((KIND / "shard.yaml").read_text())["networking"]
            document["networking"]["serviceSubnet"] = subnet or networking["serviceSubnet"]
    config = tmp_path / "kubeadm.yaml"
    config.write_text(yaml.safe_dump_all(documents))
    said = run(kubeadm, "config", "validate", "--config", config)
    assert (said.returncode == 0) is good, said.stderr
    assert "unknown field" not in said.stderr


def test_older_releases_get_the_same() -> None:
    found = patches("ClusterConfiguration")
    assert flags(found[NEW]) == flags(found[OLD])
    manager = flags(found[NEW])["controllerManager"]
    assert manager["controllers"].split(",") == list(SHARD_CONTROLLERS)
    off = flags(found[NEW])["apiServer"]["disable-admission-plugins"].split(",")
    assert set(off) < set(SHARD_ADMISSION_OFF)


async def test_a_shard_runs_with_these_flags(tmp_path: Path) -> None:
    found = flags(patches("ClusterConfiguration")[NEW])
    args = {name: tuple(f"--{flag}={value}" for flag, value in found[name].items()) for name in found}
    settings = ControlPlaneSettings(
        folder=tmp_path / "shard",
        durable=False,
        apiserver_args=args["apiServer"],
        controller_manager_args=args["controllerManager"],
        etcd_args=args["etcd"],
    )
    async with ControlPlane(settings) as shard, shard.client() as client:
        assert await apply_manifests(client)
        assert await apply_manifests(client) == []


def test_workflows(tmp_path: Path) -> None:
    lint = program("actionlint")
    files = sorted((REPOSITORY / ".github" / "workflows").glob("*.yaml"))
    assert files
    checked = run(lint, "-shellcheck=", "-pyflakes=", *files)
    assert checked.returncode == 0, checked.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("matrix.kubernetes", "matrix.kubernetis"))
    assert "kubernetis" in run(lint, "-shellcheck=", "-pyflakes=", wrong).stdout
