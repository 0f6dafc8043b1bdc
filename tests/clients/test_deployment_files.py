"""kcp's own Helm chart and kustomization: they say the same, and an API server takes every field of it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import manifests
from proxy.binaries import find
from tests.clients.programs import program
from tests.clients.side import Sides

FOLDER = Path(manifests.__file__).parent
EXTRAS = ("certManager", "serviceMonitor", "autoscaling")
COMPONENTS = ("cert-manager", "monitoring", "autoscaling")
OF_HELM = ("app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "helm.sh/chart")


def _run(*line: str | Path) -> str:
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def chart(*settings: str) -> dict[tuple[str, str], Any]:
    """Objects of the chart by kind and name."""
    line: list[str | Path] = [
        program("helm"),
        "template",
        "kcp",
        FOLDER / "chart",
        "--kube-version",
        "1.36.0",
        "--namespace",
        "kcp",
    ]
    return _objects(_run(*line, *(part for setting in settings for part in ("--set", setting))))


def kustomization(folder: Path) -> dict[tuple[str, str], Any]:
    return _objects(_run(find("kubectl"), "kustomize", folder))


def _objects(text: str) -> dict[tuple[str, str], Any]:
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in yaml.safe_load_all(text) if obj}


def _comparable(value: Any) -> Any:
    """Without what Helm alone adds, and where its namespace is not written into objects."""
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items() if key not in (*OF_HELM, "namespace")}
    return [_comparable(item) for item in value] if isinstance(value, list) else value


def _extended(folder: Path) -> Path:
    """The kustomization with all components."""
    folder.mkdir()
    (folder / "deploy").symlink_to(FOLDER / "deploy")
    whole = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["deploy"],
        "components": [f"deploy/components/{name}" for name in COMPONENTS],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole))
    return folder


@pytest.mark.parametrize("extended", [False, True], ids=["usual", "everything"])
def test_chart_and_kustomization_say_the_same(tmp_path: Path, extended: bool) -> None:
    theirs = chart(*(f"{name}.enabled=true" for name in EXTRAS) if extended else ())
    ours = kustomization(_extended(tmp_path / "all") if extended else FOLDER / "deploy")
    [settings] = [name for kind, name in ours if kind == "ConfigMap"]
    external = ours.pop(("ConfigMap", settings))["data"]["external"]
    del ours["Namespace", "kcp"]
    [container] = ours["Deployment", "kcp"]["spec"]["template"]["spec"]["containers"]
    assert container.pop("env")[0]["valueFrom"]["configMapKeyRef"]["name"] == settings
    container["args"] = [item.replace("$(KCP_EXTERNAL)", external) for item in container["args"]]
    container["imagePullPolicy"] = "IfNotPresent"
    assert ours.keys() == theirs.keys()
    for key, obj in ours.items():
        assert _comparable(obj) == _comparable(theirs[key]), key
    assert ("replicas" in ours["Deployment", "kcp"]["spec"]) is not extended


async def test_every_field_is_known_to_an_api_server(sides: Sides) -> None:
    plain = sides.plain
    await plain.kubectl("create", "namespace", "kcp")
    printed = await plain.kubectl("apply", "-k", str(FOLDER / "deploy"), "--dry-run=server", "--validate=strict")
    assert "deployment.apps/kcp created (server dry run)" in printed
    assert "networkpolicy.networking.k8s.io/kcp created (server dry run)" in printed
